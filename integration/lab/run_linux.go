package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/integration/loads"
	"github.com/mpsocks/mpsocks/integration/loads/web"
	"github.com/mpsocks/mpsocks/integration/netlab"
	"github.com/mpsocks/mpsocks/integration/profiles"
)

// laboratory is one run of the program.
type laboratory struct {
	*options
	results
	dir     string // for binaries and configurations, removed at the end
	command string
	begin   time.Time
	planned int

	lengths  map[string]float64 // seconds that bars ask for, by profile and load
	verdicts []verdict
}

// measurement is one load on one subject in one network.
type measurement struct {
	Profile string        `json:"profile"`
	Load    string        `json:"load"`
	Subject string        `json:"subject"`
	Run     int           `json:"run"` // from 1
	Warmup  float64       `json:"warmup"`
	Seconds float64       `json:"seconds"` // after the warm-up
	Error   string        `json:"error,omitempty"`
	Paths   []pathFigures `json:"paths"`
	CPU     cpuFigures    `json:"cpu_percent"` // of one core
	// Copied is the redundant traffic of both halves, percent of all that they sent.
	Copied float64      `json:"copied_percent"`
	Usage  []usagePoint `json:"usage,omitempty"`
	// Cost is what a datagram takes of the client and of the server, where the load asks for it.
	Cost []cost `json:"cost_per_datagram,omitempty"`
	flowResults
}

// pathFigures is what one path carried during a measurement.
type pathFigures struct {
	Name     string  `json:"name"`
	Up       float64 `json:"up_mbit"`   // delivered, IP headers included
	Down     float64 `json:"down_mbit"` //
	Lost     uint64  `json:"lost"`      // packets, both directions, by the link
	Overflow uint64  `json:"overflow"`  // and by the full queue
	LateP99  float64 `json:"late_p99_ms"`
}

type cpuFigures struct {
	Client   float64 `json:"client"`
	Server   float64 `json:"server"`
	Emulator float64 `json:"emulator"`
}

// room is a network with a world in it.
type room struct {
	lab   *netlab.Lab
	world *loads.World
	web   *web.Server
}

func newRoom(p *profiles.Profile) (*room, error) {
	lab, err := netlab.New(p.Specs()...)
	if err != nil {
		return nil, err
	}
	r := &room{lab: lab}
	if r.world, err = loads.NewWorld(lab.World, netlab.World); err == nil {
		r.web, err = web.NewServer(lab.World, netlab.World)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *room) close() {
	if r.web != nil {
		r.web.Close()
	}
	if r.world != nil {
		r.world.Close()
	}
	r.lab.Close()
}

// matrix measures everything that was asked for.
func (l *laboratory) matrix(ctx context.Context, chosen []profiles.Profile) error {
	var loadsOf []*load
	for _, name := range l.loads {
		w, err := loadByName(name)
		if err != nil {
			return err
		}
		loadsOf = append(loadsOf, w)
	}
	type job struct {
		profile *profiles.Profile
		subject string
		loads   []*load
	}
	var jobs []job
	for i := range chosen {
		p := &chosen[i]
		for _, s := range l.subjectsFor(p, loadsOf) {
			j := job{profile: p, subject: s}
			for _, w := range loadsOf {
				if len(l.subjects) > 0 || compared(w, s) {
					j.loads = append(j.loads, w)
				}
			}
			jobs = append(jobs, j)
			l.planned += len(j.loads) * l.repeat
		}
	}
	for _, j := range jobs {
		for run := range l.repeat {
			if err := l.session(ctx, j.profile, j.subject, j.loads, run+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// compared says whether the subject takes part in a load by default.
func compared(w *load, subject string) bool {
	kind, _, _ := strings.Cut(subject, ":")
	return kind == "mpsocks" || slices.Contains(w.versus, kind)
}

// subjectsFor lists the subjects on a profile, "alone" taken apart into the paths.
func (l *laboratory) subjectsFor(p *profiles.Profile, of []*load) []string {
	asked := l.subjects
	if len(asked) == 0 {
		for _, s := range []string{"mpsocks", "alone", "raw", "kernel"} {
			if slices.ContainsFunc(of, func(w *load) bool { return compared(w, s) }) {
				asked = append(asked, s)
			}
		}
	}
	var out []string
	for _, s := range asked {
		if s != "alone" {
			out = append(out, s)
			continue
		}
		if len(l.subjects) == 0 && !steadyNetwork(p) {
			continue // a path that goes away says nothing by itself
		}
		for _, path := range p.Paths {
			out = append(out, "alone:"+path.Name)
		}
	}
	return out
}

// pause sleeps unless the run is being cancelled.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// measure runs one load.
func (l *laboratory) measure(ctx context.Context, r *room, p *profiles.Profile, s *subject, w *load, m *measurement) error {
	m.Warmup, m.Seconds = l.warmup, l.seconds
	if m.Seconds == 0 {
		// What the whole matrix in half an hour has room for; bars have more time, and events must fit in.
		m.Seconds = 3
		if len(p.Events) > 0 {
			m.Seconds = 8
		}
		if len(l.bars) > 0 {
			m.Seconds *= 1.3
		}
		m.Seconds = max(m.Seconds, l.lengths[p.Name+" "+w.name])
	}
	span := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	if slices.Contains(counted, w.name) {
		defer s.closeAccounts()
		if err := s.openAccounts(); err != nil {
			return err
		}
	}
	calm := r.background(ctx, p)
	defer calm()
	begin := time.Now()
	restore := r.events(p)
	watch := r.watch(ctx, s, span(m.Warmup), span(m.Warmup+m.Seconds))
	res, err := r.runFlows(ctx, s.route, w.flows(p), span(m.Warmup), span(m.Warmup+m.Seconds), begin)
	if e := restore(); err == nil {
		err = e
	}
	m.flowResults = *res
	seen := <-watch
	m.Paths, m.CPU, m.Usage, m.Copied = seen.paths, seen.cpu, seen.usage, seen.copied
	m.costs(seen.used)
	if err == nil {
		err = seen.err
	}
	select {
	case dead := <-s.errs:
		s.errs <- dead // stop counts them
		if err == nil {
			err = dead
		}
	default:
	}
	return err
}

// add keeps a measurement.
func (l *laboratory) add(m *measurement) {
	l.done = append(l.done, m)
	if l.planned > 10 && terminal() {
		spent := time.Since(l.begin)
		left := spent / time.Duration(len(l.done)) * time.Duration(l.planned-len(l.done))
		fmt.Fprintf(os.Stderr, "%d of %d, %v gone, about %v to go   \r", len(l.done), l.planned, spent.Round(time.Second), left.Round(time.Second))
	}
}

// show prints the line of a measurement.
func (l *laboratory) show(m *measurement) {
	text := m.line()
	if l.spoiled(m) {
		text += ", too late"
	}
	fmt.Println(text)
	if l.points {
		fmt.Print(m.timeline())
	}
}

// terminal says whether somebody watches: a progress line is for people.
func terminal() bool {
	_, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS)
	return err == nil
}
