package main

import (
	"fmt"
	"math"
	"time"

	"github.com/mpsocks/mpsocks/integration/loads"
	"github.com/mpsocks/mpsocks/integration/profiles"
)

// bars are the figures that the engine has to reach, in the order of the issue that sets them.
var bars = []bar{
	{
		"bulk", "bulk datagrams over the sum of the paths alone, profiles without loss",
		withAlone("bulk_down", (*profiles.Profile).Lossless),
		bulkVerdicts("bulk_down", (*profiles.Profile).Lossless),
	},
	{
		"bulk_up", "the same, client to world",
		withAlone("bulk_up", (*profiles.Profile).Lossless),
		bulkVerdicts("bulk_up", (*profiles.Profile).Lossless),
	},
	{
		"http3", "one HTTP/3 transfer over the best single path alone",
		withAlone("http3", func(p *profiles.Profile) bool { return steadyNetwork(p) && unmetered(p) }),
		func(all []profiles.Profile, r *results) []verdict {
			var out []verdict
			for i := range all {
				p := &all[i]
				if !steadyNetwork(p) || !unmetered(p) {
					continue
				}
				_, best := r.alone(p, "http3", goodput)
				v := verdict{Profile: p.Name, What: "goodput over the best path alone", Limit: 0.97, AtLeast: true, Measured: r.median(p.Name, "mpsocks", "http3", goodput) / best}
				switch p.Name {
				case "baseline":
					v.Limit = 1.8
				case "rtt_40":
					v.Limit = 1.5
				case "bw_4to1":
					v.Limit = 0.8 * 100 / 80 // of the possible gain
				}
				v.Beside = fmt.Sprintf("best alone %.1f Mbit/s", best)
				out = append(out, v)
			}
			return out
		},
	},
	{
		"lossy", "bulk datagrams in profiles with loss",
		withAlone("bulk_down", lossy),
		func(all []profiles.Profile, r *results) []verdict {
			var out []verdict
			for i := range all {
				if p := &all[i]; lossy(p) {
					sum, best := r.alone(p, "bulk_down", goodput)
					got := r.median(p.Name, "mpsocks", "bulk_down", goodput)
					beside := fmt.Sprintf("%.1f Mbit/s, alone %.1f in sum, %.1f best", got, sum, best)
					out = append(out,
						verdict{Profile: p.Name, What: "goodput over the sum of the paths alone", Measured: got / sum, Limit: 0.9, AtLeast: true, Beside: beside},
						verdict{Profile: p.Name, What: "goodput over the best path alone", Measured: got / best, Limit: 1, AtLeast: true})
				}
			}
			return out
		},
	},
	{
		"game", "500 datagrams/s of 200 bytes over raw UDP on the best path, profiles without loss",
		func(all []profiles.Profile) []need {
			var out []need
			for _, p := range all {
				if p.Lossless() {
					out = append(out, need{p.Name, "mpsocks", "game", 0}, need{p.Name, "raw", "game", 0})
				}
			}
			return out
		},
		func(all []profiles.Profile, r *results) []verdict {
			var out []verdict
			for _, p := range all {
				if !p.Lossless() {
					continue
				}
				for _, q := range []struct {
					name  string
					limit float64
				}{{"p50", 1}, {"p99", 3}} {
					raw := r.median(p.Name, "raw", "game", latency(q.name))
					out = append(out, verdict{
						Profile: p.Name, What: q.name + " over raw UDP, ms", Limit: q.limit,
						Measured: r.median(p.Name, "mpsocks", "game", latency(q.name)) - raw, Beside: fmt.Sprintf("raw %.2f ms", raw),
					})
				}
			}
			return out
		},
	},
	{
		"near", "85 Mbit/s of 1,200 bytes on 60M/20ms + 40M/50ms, echoed",
		only("uneven", need{subject: "mpsocks", load: "near", seconds: 12}, need{subject: "kernel", load: "near"}, need{subject: "raw", load: "near"}),
		func(all []profiles.Profile, r *results) []verdict {
			return table(all, r, "uneven", "near", "raw", []limit{{"delivered", delivered, 0.99, true}, {"p50, ms", latency("p50"), 60, false}, {"p99, ms", latency("p99"), 150, false}})
		},
	},
	{
		"loss", "500 datagrams/s of 200 bytes with 1 % random loss on both paths",
		only("loss_1", need{subject: "mpsocks", load: "game", seconds: 15}, need{subject: "kernel", load: "game"}, need{subject: "raw", load: "game"}),
		func(all []profiles.Profile, r *results) []verdict {
			return table(all, r, "loss_1", "game", "raw", []limit{{"lost", lost, 0, false}, {"p99, ms", latency("p99"), 27, false}, {"p99.9, ms", latency("p99.9"), 42, false}})
		},
	},
	{
		"crowded", "the game beside a CONNECT download and bulk datagrams, 100 ms drop-tail queues",
		only("bloated", need{subject: "mpsocks", load: "crowded"}, need{subject: "raw", load: "game"}),
		func(all []profiles.Profile, r *results) []verdict {
			if one(all, "bloated") == nil {
				return nil
			}
			idle := r.median("bloated", "raw", "game", latency("p50"))
			return []verdict{{Profile: "bloated", What: "p99 over the idle round trip", Measured: r.median("bloated", "mpsocks", "crowded", latency("p99")) / idle, Limit: 2, Beside: fmt.Sprintf("idle %.2f ms", idle)}}
		},
	},
	{
		"death", "silent death of the path in use, and its return",
		only("silent_death", need{subject: "mpsocks", load: "game"}, need{subject: "mpsocks", load: "steady"}, need{subject: "kernel", load: "game"}, need{subject: "mpsocks", load: "bulk_down"}),
		deathVerdicts,
	},
	{
		"flap", "the first path down and up every 3 s, for a minute",
		only("flap", need{subject: "mpsocks", load: "game", seconds: 60}, need{subject: "kernel", load: "game"}),
		func(all []profiles.Profile, r *results) []verdict {
			return table(all, r, "flap", "game", "", []limit{{"lost", lost, 0, false}, {"p99.9, ms", latency("p99.9"), 150, false}})
		},
	},
	{
		"copies", "redundant traffic in a mixed load",
		only("uneven", need{subject: "mpsocks", load: "mixed"}),
		func(all []profiles.Profile, r *results) []verdict {
			if one(all, "uneven") == nil {
				return nil
			}
			return []verdict{{Profile: "uneven", What: "copies, % of all bytes", Measured: r.median("uneven", "mpsocks", "mixed", func(m *measurement) float64 { return m.Copied }), Limit: 5}}
		},
	},
	{
		"cost", "what a datagram of a call and of paced bulk costs the dearer half, 60M/20ms + 40M/50ms",
		only("uneven", need{subject: "mpsocks", load: "calls", seconds: 6}, need{subject: "mpsocks", load: "paced", seconds: 6}),
		func(all []profiles.Profile, r *results) []verdict {
			if one(all, "uneven") == nil {
				return nil
			}
			var out []verdict
			for _, q := range []struct {
				load, what string
				figure     func(cost) float64
				limit      float64
			}{
				{"calls", "500/s of 200 B: processor, us", func(c cost) float64 { return c.Micros }, 40},
				{"calls", "500/s of 200 B: system calls", func(c cost) float64 { return c.Calls }, 5},
				{"calls", "500/s of 200 B: context switches", func(c cost) float64 { return c.Switches }, 1.2},
				{"paced", "9,400/s of 1,200 B: processor, us", func(c cost) float64 { return c.Micros }, 9},
			} {
				figure := costOf(q.figure)
				most := r.worst("uneven", "mpsocks", q.load, figure)
				out = append(out, verdict{Profile: "uneven", What: q.what, Measured: r.median("uneven", "mpsocks", q.load, figure), Limit: q.limit, Beside: fmt.Sprintf("at most %.4g", most)})
			}
			return out
		},
	},
	{
		"many", "64 flows at once, two of them bulk",
		only("uneven", need{subject: "mpsocks", load: "many", seconds: 12}, need{subject: "mpsocks", load: "small", seconds: 12}),
		func(all []profiles.Profile, r *results) []verdict {
			if one(all, "uneven") == nil {
				return nil
			}
			alone := r.median("uneven", "mpsocks", "small", latency("p99"))
			worst := r.median("uneven", "mpsocks", "many", worstSmall)
			return []verdict{{Profile: "uneven", What: "worst small flow's p99 over its value alone", Measured: worst / alone, Limit: 1.5, Beside: fmt.Sprintf("alone %.2f ms, worst %.2f ms", alone, worst)}}
		},
	},
}

// bulkVerdicts compares with the sum of the paths alone.
func bulkVerdicts(load string, match func(*profiles.Profile) bool) func([]profiles.Profile, *results) []verdict {
	return func(all []profiles.Profile, r *results) []verdict {
		var out []verdict
		for i := range all {
			p := &all[i]
			if !match(p) {
				continue
			}
			sum, best := r.alone(p, load, goodput)
			got := r.median(p.Name, "mpsocks", load, goodput)
			v := verdict{Profile: p.Name, What: "goodput over the sum of the paths alone", Measured: got / sum, Limit: 0.95, AtLeast: true}
			if p.Spread() > spreadLimit {
				v.Limit = 0.9
			}
			v.Beside = fmt.Sprintf("%.1f Mbit/s, alone %.1f in sum, %.1f best", got, sum, best)
			out = append(out, v)
		}
		return out
	}
}

// limit is one figure of a bar on a single profile.
type limit struct {
	what    string
	figure  func(*measurement) float64
	limit   float64
	atLeast bool
}

// table judges several figures of one load, with kernel MPTCP's and another subject's beside each.
func table(all []profiles.Profile, r *results, profile, load, beside string, limits []limit) []verdict {
	if one(all, profile) == nil {
		return nil
	}
	var out []verdict
	for _, l := range limits {
		v := verdict{Profile: profile, What: l.what, Limit: l.limit, AtLeast: l.atLeast, Measured: r.median(profile, "mpsocks", load, l.figure)}
		if l.limit == 0 {
			v.Measured = r.worst(profile, "mpsocks", load, l.figure)
		}
		v.Beside = fmt.Sprintf("kernel MPTCP %.4g", r.median(profile, "kernel", load, l.figure))
		if beside != "" {
			v.Beside += fmt.Sprintf(", %s %.4g", beside, r.median(profile, beside, load, l.figure))
		}
		out = append(out, v)
	}
	return out
}

// delivered is the share of the datagrams that arrived.
func delivered(m *measurement) float64 {
	if len(m.Datagrams) == 0 || m.Datagrams[0].Sent == 0 {
		return math.NaN()
	}
	return float64(m.Datagrams[0].Received) / float64(m.Datagrams[0].Sent)
}

// worstSmall is the largest p99 among the small flows.
func worstSmall(m *measurement) float64 {
	worst := math.NaN()
	for _, d := range m.Datagrams {
		if d.Direction() == loads.Echo && (math.IsNaN(worst) || d.RTT.P99 > worst) {
			worst = d.RTT.P99
		}
	}
	return worst
}

// The times of the profile silent_death that its verdicts need: when the path comes back, when the measurement ends.
const (
	deathReturn = 7 * time.Second
	// awake is what the path must deliver to count as used, Mbit/s; keep-alives and probes are far below.
	awake = 2
)

// deathVerdicts judges the game, a steady flow that the surviving path can carry, and the return of the dead one.
func deathVerdicts(all []profiles.Profile, r *results) []verdict {
	if one(all, "silent_death") == nil {
		return nil
	}
	const p = "silent_death"
	kernel := fmt.Sprintf("kernel MPTCP %.4g", r.median(p, "kernel", "game", gap))
	// The other path's round trip is 50 ms; for the flow in bulk three round trips are less than the 200 ms allowed.
	return []verdict{
		{Profile: p, What: "game: longest gap, ms", Measured: r.median(p, "mpsocks", "game", gap), Limit: 70, Beside: kernel},
		{Profile: p, What: "game: lost", Measured: r.worst(p, "mpsocks", "game", lost)},
		{Profile: p, What: "game: duplicated", Measured: r.worst(p, "mpsocks", "game", duplicates)},
		{Profile: p, What: "30 Mbit/s: longest gap, ms", Measured: r.median(p, "mpsocks", "steady", gap), Limit: 200},
		{Profile: p, What: "30 Mbit/s: lost", Measured: r.worst(p, "mpsocks", "steady", lost)},
		{Profile: p, What: "30 Mbit/s: duplicated", Measured: r.worst(p, "mpsocks", "steady", duplicates)},
		{Profile: p, What: "bulk: path used again after, s", Measured: r.median(p, "mpsocks", "bulk_down", returned), Limit: 2},
		{Profile: p, What: "bulk: lowest half second after the return over before it", Measured: r.median(p, "mpsocks", "bulk_down", dip), Limit: 0.9, AtLeast: true},
	}
}

// returned is how long after its return the first path carries traffic again, in seconds.
func returned(m *measurement) float64 {
	for _, u := range m.Usage {
		if at := u.At - deathReturn.Seconds(); at >= 0 && u.Down[0] > awake {
			return at
		}
	}
	return math.Inf(1)
}

// dip is the lowest goodput over half a second after the path's return, relative to the two seconds before.
func dip(m *measurement) float64 {
	if len(m.Datagrams) == 0 {
		return math.NaN()
	}
	before, n, low := 0.0, 0, math.Inf(1)
	points := m.Datagrams[0].Points
	for i, p := range points {
		at := p.At - deathReturn.Seconds()
		if at >= -2 && at < 0 {
			before, n = before+p.Mbit, n+1
		}
		if at >= 0 && at < 3 && i+10 <= len(points) {
			sum := 0.0
			for _, q := range points[i : i+10] {
				sum += q.Mbit / 10
			}
			low = min(low, sum)
		}
	}
	return low / (before / float64(n))
}
