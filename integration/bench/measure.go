//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/load"
)

// The metrics, as they stand in tables.
const (
	kpps      = "kpps"
	mbits     = "Mbit/s"
	loss      = "loss %"
	cpuClient = "client CPU-s/M"
	cpuServer = "server CPU-s/M"
	p50       = "p50 us"
	p99       = "p99 us"
	longest   = "max us"
	rate      = "per second"
	failed    = "failed"
	gbClient  = "client CPU-s/GB"
	gbServer  = "server CPU-s/GB"
	msClient  = "client CPU-ms each"
	msServer  = "server CPU-ms each"
	usClient  = "client CPU-us each"
	usServer  = "server CPU-us each"
	swClient  = "client switches each"
	swServer  = "server switches each"
)

// A measurement makes one Result.
type measurement struct {
	name, title string
	metrics     []string
	everyday    bool // it is of what -peers measures
	run         func(*bench, *Result) error
}

// tunnels are the systems that carry datagrams, others' last.
var tunnels = []string{plain, ours, oursOne, singBox2022, singBoxNone}

// measurements are all there are, in the order they are made.
func measurements() []measurement {
	var all []measurement
	for _, size := range []int{64, 512, 1200} {
		all = append(all, measurement{
			name:    fmt.Sprintf("quiet-%d", size),
			title:   fmt.Sprintf("Round trip of one quiet flow, one datagram of %d B outstanding", size),
			metrics: []string{p50, p99, longest, loss}, everyday: size != 512,
			run: func(b *bench, r *Result) error { return b.quiet(r, size) },
		})
	}
	for _, shape := range []struct{ rate, size int }{{50, 200}, {500, 200}, {5000, 1200}, {9400, 1200}} {
		all = append(all, measurement{
			name:    fmt.Sprintf("paced-%d-%d", shape.rate, shape.size),
			title:   fmt.Sprintf("A flow of %d datagrams of %d B a second, echoed: times, and what a round trip costs each half", shape.rate, shape.size),
			metrics: []string{p50, p99, loss, usClient, usServer, swClient, swServer}, everyday: true,
			run: func(b *bench, r *Result) error { return b.paced(r, shape.rate, shape.size) },
		})
	}
	for _, shape := range []struct{ a, w int }{{1, 64}, {16, 32}} {
		for _, size := range []int{64, 512, 1200} {
			all = append(all, measurement{
				name:    fmt.Sprintf("flood-%dx%d-%d", shape.a, shape.w, size),
				title:   fmt.Sprintf("Flood: %d association(s) x %d outstanding, %d B", shape.a, shape.w, size),
				metrics: []string{kpps, mbits, loss, cpuClient, cpuServer}, everyday: shape.a > 1 && size == 1200,
				run: func(b *bench, r *Result) error { return b.flood(r, shape.a, shape.w, size) },
			})
		}
	}
	for _, workers := range []int{8, 1, 4, 32} {
		all = append(all, measurement{
			name:    fmt.Sprintf("connects-%d", workers),
			title:   fmt.Sprintf("CONNECTs: handshake, one byte echoed, close; %d worker(s)", workers),
			metrics: []string{rate, failed, msClient, msServer}, everyday: workers != 8,
			run: func(b *bench, r *Result) error { return b.connects(r, workers) },
		})
	}
	for _, upload := range []bool{true, false} {
		way := map[bool]string{true: "upload", false: "download"}[upload]
		for _, streams := range []int{1, 4} {
			all = append(all, measurement{
				name:    fmt.Sprintf("%s-%d", way, streams),
				title:   fmt.Sprintf("CONNECT goodput, %s, %d stream(s)", way, streams),
				metrics: []string{mbits, gbClient, gbServer}, everyday: true,
				run: func(b *bench, r *Result) error { return b.stream(r, streams, upload) },
			})
		}
	}
	return append(all,
		measurement{"allocations", "Heap allocations per datagram carried, in a flood of 16 x 32, 1,200 B", []string{allocClient, allocServer}, false, (*bench).allocations},
		measurement{"scale", "Processor time per datagram by number of associations, 512 B, 512 outstanding in all", []string{kpps, loss, cpuClient, cpuServer}, false, (*bench).scale},
		measurement{"memory", "Resident memory per idle association, KiB", []string{memClient, memServer, memBoth}, false, (*bench).memory},
		measurement{"after-flood", "Resident memory when a flood of 16 x 32, 1,200 B and four streams each way have ended, MiB", []string{rssClient, rssServer, restedClient, restedServer}, true, (*bench).afterFlood},
		measurement{"sessions", "CONNECT goodput of one server with 1 and 8 clients, a stream each, by processors that each process may use", []string{upRate, upCPU, downRate, downCPU}, false, (*bench).sessions},
		measurement{"associations", "UDP associations set up and torn down, 8 workers", []string{rate, failed, msClient, msServer}, false, (*bench).associations},
	)
}

// bench is one run of the program.
type bench struct {
	*world
	busy           string // load averages at the start
	rounds         int
	many           int // associations where ten thousand are asked for
	warmup, window time.Duration
	progress       func(format string, args ...any)
}

// interleave runs a step for each system in turn, as many times as there are
// rounds: A B C A B C, so that a slow minute of the machine hits all alike.
func (b *bench) interleave(r *Result, names []string, step func(*system) error) error {
	systems, err := b.systems(names...)
	if err != nil {
		return err
	}
	for round := range b.rounds {
		for _, s := range systems {
			b.progress("%s: round %d of %d, %s", r.Name, round+1, b.rounds, s.name)
			err := step(s)
			for range 3 { // what is not ours fails now and then, sing-box some CONNECTs of a thousand
				if err == nil || s.pair != nil || s.proxy == "" {
					break
				}
				b.progress("%s: %s: once more: %v", r.Name, s.name, err)
				err = step(s)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

func (b *bench) quiet(r *Result, size int) error {
	return b.interleave(r, append([]string{direct}, tunnels...), func(s *system) error {
		a, err := b.load.ask(request{Quiet: &load.QuietSpec{
			Proxy: s.proxy, Target: b.echo, Size: size, Warmup: b.warmup / 2, Duration: b.window,
		}})
		if err != nil {
			return err
		}
		r.add(s.name, p50, a.Quiet.P50)
		r.add(s.name, p99, a.Quiet.P99)
		r.add(s.name, longest, a.Quiet.Max)
		r.add(s.name, loss, 100*float64(a.Quiet.Lost)/float64(a.Quiet.Count+a.Quiet.Lost))
		return nil
	})
}

func (b *bench) paced(r *Result, rate, size int) error {
	return b.interleave(r, tunnels, func(s *system) error {
		a, err := b.load.ask(request{Paced: &load.PacedSpec{
			Proxy: s.proxy, Target: b.echo, Size: size, Rate: rate, Warmup: b.warmup, Duration: b.window, PIDs: s.pids,
		}})
		if err != nil {
			return err
		}
		f := a.Paced
		trips := float64(f.Count)
		r.add(s.name, p50, f.P50)
		r.add(s.name, p99, f.P99)
		r.add(s.name, loss, 100*float64(f.Lost)/(trips+float64(f.Lost)))
		r.add(s.name, usClient, f.CPU[0]/trips*1e6)
		r.add(s.name, usServer, f.CPU[1]/trips*1e6)
		r.add(s.name, swClient, f.Switches[0]/trips)
		r.add(s.name, swServer, f.Switches[1]/trips)
		return nil
	})
}

func (b *bench) flood(r *Result, associations, window, size int) error {
	return b.interleave(r, append([]string{direct}, tunnels...), func(s *system) error {
		a, err := b.load.ask(request{Flood: &load.FloodSpec{
			Proxy: s.proxy, Target: b.echo, Associations: associations, Window: window,
			Size: size, Warmup: b.warmup, Duration: b.window, PIDs: s.pids,
		}})
		if err != nil {
			return err
		}
		return record(r, s.name, a.Flood, size)
	})
}

// record notes one flood.
func record(r *Result, name string, f *load.FloodResult, size int) error {
	if err := f.Wrong(); err != nil {
		return err
	}
	trips := float64(f.RoundTrips)
	r.add(name, kpps, trips/f.Seconds/1e3)
	r.add(name, mbits, trips*float64(size)*8/f.Seconds/1e6)
	r.add(name, loss, 100*float64(f.Lost)/(trips+float64(f.Lost)))
	for i, metric := range []string{cpuClient, cpuServer}[:len(f.CPU)] {
		r.add(name, metric, f.CPU[i]/(2*trips)*1e6) // an echo is carried twice
	}
	return nil
}

func (b *bench) associations(r *Result) error {
	return b.interleave(r, []string{plain, ours}, func(s *system) error {
		return b.churn(r, s, load.ChurnSpec{Proxy: s.proxy, Workers: 8})
	})
}

func (b *bench) connects(r *Result, workers int) error {
	return b.interleave(r, []string{direct, ours, oursOne, oursEarly, singBox2022, singBoxNone}, func(s *system) error {
		return b.churn(r, s, load.ChurnSpec{Proxy: s.proxy, Direct: s.proxy == "", Target: b.tiny, Workers: workers})
	})
}

func (b *bench) churn(r *Result, s *system, spec load.ChurnSpec) error {
	spec.Warmup, spec.Duration, spec.PIDs = b.warmup, b.window, s.pids
	a, err := b.load.ask(request{Churn: &spec})
	if err != nil {
		return err
	}
	c := a.Churn
	if c.Count == 0 {
		return fmt.Errorf("none succeeded, %d failed, the last one: %s", c.Failed, c.Error)
	}
	r.add(s.name, rate, float64(c.Count)/c.Seconds)
	r.add(s.name, failed, float64(c.Failed))
	if c.Failed > 0 {
		b.progress("%s: %s: %d failed, the last one: %s", r.Name, s.name, c.Failed, c.Error)
	}
	for i, metric := range []string{msClient, msServer}[:len(c.CPU)] {
		r.add(s.name, metric, c.CPU[i]/float64(c.Count)*1e3)
	}
	return nil
}

func (b *bench) stream(r *Result, streams int, upload bool) error {
	return b.interleave(r, []string{direct, tlsCopy, ours, oursOne, singBox2022, singBoxNone}, func(s *system) error {
		// One plain TLS connection is the yardstick of four streams too: its
		// own four connections stand beside it for information.
		counts := []int{streams}
		if s.name == tlsCopy && streams > 1 {
			counts = append(counts, 1)
		}
		for _, n := range counts {
			to := s.target
			if s.proxy != "" {
				to = b.bulk
			}
			a, err := b.load.ask(request{Stream: &load.StreamSpec{
				Proxy: s.proxy, Target: to, Streams: n, Upload: upload,
				Warmup: b.warmup, Duration: b.window, PIDs: s.pids,
			}})
			if err != nil {
				return err
			}
			name := s.name
			if n != streams {
				name = tlsOne
			}
			st := a.Stream
			r.add(name, mbits, float64(st.Bytes)*8/st.Seconds/1e6)
			for i, metric := range []string{gbClient, gbServer}[:len(st.CPU)] {
				r.add(name, metric, st.CPU[i]/float64(st.Bytes)*1e9)
			}
		}
		return nil
	})
}

// tlsOne is the row of one TLS connection beside four streams.
const tlsOne = "TLS io.Copy, 1 connection"
