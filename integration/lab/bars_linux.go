package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mpsocks/mpsocks/integration/profiles"
)

// A need is what a bar must have measured.
type need struct {
	profile, subject, load string
	seconds                float64 // 0 is the default
}

// A bar is a promise of the engine: what it takes to judge it, and the judgement of the medians.
type bar struct {
	name  string
	about string
	needs func(p []profiles.Profile) []need
	judge func(p []profiles.Profile, r *results) []verdict
}

// verdict is one row of the table of bars.
type verdict struct {
	Bar      string  `json:"bar"`
	Profile  string  `json:"profile"`
	What     string  `json:"what"`
	Measured float64 `json:"measured"`
	Limit    float64 `json:"limit"`
	AtLeast  bool    `json:"at_least"` // otherwise at most
	Beside   string  `json:"beside"`   // what the yardsticks reach
}

// pass says whether the bar is reached; what could not be measured is not.
func (v *verdict) pass() bool {
	if v.AtLeast {
		return v.Measured >= v.Limit
	}
	return v.Measured <= v.Limit
}

func (v *verdict) String() string {
	sign, word := "<=", "MISS"
	if v.AtLeast {
		sign = ">="
	}
	if v.pass() {
		word = "pass"
	}
	text := fmt.Sprintf("%s  %-10s %-14s %s: %.4g (%s %.4g)", word, v.Bar, v.Profile, v.What, v.Measured, sign, v.Limit)
	if v.Beside != "" {
		text += "; " + v.Beside
	}
	return text
}

func barNames() []string {
	var out []string
	for _, b := range bars {
		out = append(out, b.name)
	}
	return out
}

// results are all measurements of a run, looked up by what they are of.
type results struct {
	done    []*measurement
	dropped []*measurement // taken again, as the emulator had come late
}

// median is the middle of a figure over the runs of one measurement; not a number when there is none.
func (r *results) median(profile, subject, load string, figure func(*measurement) float64) float64 {
	var all []float64
	for _, m := range r.done {
		if m.Profile == profile && m.Subject == subject && m.Load == load && m.Error == "" {
			all = append(all, figure(m))
		}
	}
	if len(all) == 0 {
		return math.NaN()
	}
	slices.Sort(all)
	if n := len(all); n%2 == 0 {
		return (all[n/2-1] + all[n/2]) / 2
	}
	return all[len(all)/2]
}

// worst is the largest of a figure over the runs of one measurement: what must never happen is not a matter of medians,
// nor of an emulator that comes late.
func (r *results) worst(profile, subject, load string, figure func(*measurement) float64) float64 {
	high := math.NaN()
	for _, m := range slices.Concat(r.done, r.dropped) {
		if m.Profile == profile && m.Subject == subject && m.Load == load && m.Error == "" {
			if v := figure(m); math.IsNaN(high) || v > high {
				high = v
			}
		}
	}
	return high
}

// alone are the medians of a figure for each path alone.
func (r *results) alone(p *profiles.Profile, load string, figure func(*measurement) float64) (sum, best float64) {
	for _, path := range p.Paths {
		v := r.median(p.Name, "alone:"+path.Name, load, figure)
		sum += v
		best = max(best, v)
	}
	return sum, best
}

// The figures of a measurement: of its first flow, or of all.
func goodput(m *measurement) float64 {
	sum := 0.0
	for _, d := range m.Datagrams {
		sum += d.Goodput
	}
	for _, s := range m.Streams {
		sum += s.Goodput
	}
	return sum
}

func latency(q string) func(*measurement) float64 {
	return func(m *measurement) float64 {
		if len(m.Datagrams) == 0 {
			return math.NaN()
		}
		p := m.Datagrams[0].Latency()
		return map[string]float64{"p50": p.P50, "p99": p.P99, "p99.9": p.P999}[q]
	}
}

func lost(m *measurement) float64 {
	if len(m.Datagrams) == 0 {
		return math.NaN()
	}
	return float64(m.Datagrams[0].Lost)
}

func duplicates(m *measurement) float64 {
	if len(m.Datagrams) == 0 {
		return math.NaN()
	}
	return float64(m.Datagrams[0].Duplicates)
}

func gap(m *measurement) float64 {
	if len(m.Datagrams) == 0 {
		return math.NaN()
	}
	return m.Datagrams[0].LongestGap
}

// judge runs everything that the chosen bars need, merged into as few sessions as possible, and prints the verdicts.
func (l *laboratory) judge(ctx context.Context) error {
	all, err := profiles.All()
	if err != nil {
		return err
	}
	chosen, err := l.chosenBars()
	if err != nil {
		return err
	}
	within, err := choose(l.profiles)
	if err != nil {
		return err
	}
	type place struct{ profile, subject string }
	var order []place
	work := map[place][]*load{}
	seconds := map[string]float64{}
	for _, b := range chosen {
		for _, n := range b.needs(within) {
			at := place{n.profile, n.subject}
			if work[at] == nil {
				order = append(order, at)
			}
			w, err := loadByName(n.load)
			if err != nil {
				return err
			}
			if !slices.Contains(work[at], w) {
				work[at] = append(work[at], w)
				l.planned += l.repeat
			}
			key := n.profile + " " + n.load
			seconds[key] = max(seconds[key], n.seconds)
		}
	}
	l.lengths = seconds
	for _, at := range order {
		i := slices.IndexFunc(all, func(p profiles.Profile) bool { return p.Name == at.profile })
		for run := range l.repeat {
			if err := l.session(ctx, &all[i], at.subject, work[at], run+1); err != nil {
				return err
			}
		}
	}
	r := &l.results
	misses := 0
	fmt.Fprintln(os.Stderr)
	for _, b := range chosen {
		for _, v := range b.judge(within, r) {
			v.Bar = b.name
			l.verdicts = append(l.verdicts, v)
			fmt.Println(v.String())
			if !v.pass() {
				misses++
			}
		}
	}
	fmt.Printf("%d of %d bars reached\n", len(l.verdicts)-misses, len(l.verdicts))
	return nil
}

func (l *laboratory) chosenBars() ([]bar, error) {
	var out []bar
	for _, name := range l.options.bars {
		before := len(out)
		for _, b := range bars {
			if name == "all" || name == b.name {
				out = append(out, b)
			}
		}
		if len(out) == before {
			return nil, fmt.Errorf("no bar %q; there are %s", name, strings.Join(barNames(), " "))
		}
	}
	return out, nil
}

// one finds a profile among the chosen ones.
func one(p []profiles.Profile, name string) *profiles.Profile {
	for i := range p {
		if p[i].Name == name {
			return &p[i]
		}
	}
	return nil
}

// only makes the needs of a bar on a single profile, if that is among the chosen ones.
func only(profile string, n ...need) func([]profiles.Profile) []need {
	return func(p []profiles.Profile) []need {
		if one(p, profile) == nil {
			return nil
		}
		for i := range n {
			n[i].profile = profile
		}
		return n
	}
}

// withAlone are mpsocks and each path alone at a load, on the profiles that match.
func withAlone(load string, match func(*profiles.Profile) bool) func([]profiles.Profile) []need {
	return func(all []profiles.Profile) []need {
		var out []need
		for i := range all {
			if p := &all[i]; match(p) {
				out = append(out, need{p.Name, "mpsocks", load, 0})
				for _, path := range p.Paths {
					out = append(out, need{p.Name, "alone:" + path.Name, load, 0})
				}
			}
		}
		return out
	}
}

// lossy are the profiles that lose packets, and do nothing worse.
func lossy(p *profiles.Profile) bool {
	return !p.Lossless() && len(p.Background) == 0 && !slices.ContainsFunc(p.Events, func(e profiles.Event) bool { return e.Do != "set" && e.Do != "restore" })
}

// steadyNetwork are the profiles in which no path goes away.
func steadyNetwork(p *profiles.Profile) bool {
	return p.Lossless() || lossy(p) || len(p.Background) > 0
}

func unmetered(p *profiles.Profile) bool {
	return !slices.ContainsFunc(p.Paths, func(q profiles.Path) bool { return q.Metered })
}

// spreadLimit is when a difference of latency counts as wide.
const spreadLimit = 100 * time.Millisecond
