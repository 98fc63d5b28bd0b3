//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/bench/load"
)

const (
	upRate   = "up Mbit/s"
	downRate = "down Mbit/s"
	upCPU    = "up CPU-s/GB"
	downCPU  = "down CPU-s/GB"
)

// crowd is how many sessions are many.
const crowd = 8

// sessions measures what one server carries for one client and for many, a stream each,
// where each process may use one processor, and where it may use two: what the sessions of
// a server share costs no more with many, and a second processor helps one session too.
func (b *bench) sessions(r *Result) error {
	b.retire()
	for round := range b.rounds {
		for _, processors := range []int{1, 2} {
			for _, n := range []int{1, crowd} {
				if !b.only[ours] {
					continue
				}
				b.progress("%s: round %d of %d, %d sessions, %d processors", r.Name, round+1, b.rounds, n, processors)
				if err := b.crowd(r, n, processors); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func sessionsRow(n, processors int) string {
	return fmt.Sprintf("%s, %d session(s), GOMAXPROCS=%d", ours, n, processors)
}

// crowd starts a server with n clients, and measures both directions.
func (b *bench) crowd(r *Result, n, processors int) error {
	os.Setenv("GOMAXPROCS", strconv.Itoa(processors))
	defer os.Unsetenv("GOMAXPROCS")
	s, err := b.start(ours)
	if err != nil {
		return err
	}
	defer s.stop()
	proxies, pids := []string{s.proxy}, s.pids
	free, err := halves.FreePorts(n - 1)
	if err != nil {
		return err
	}
	for _, at := range free {
		c, err := s.pair.Join(at)
		if err != nil {
			return err
		}
		defer c.Kill()
		proxies, pids = append(proxies, at.String()), append(pids, c.PID())
	}
	for _, upload := range []bool{true, false} {
		a, err := b.load.ask(request{Stream: &load.StreamSpec{
			Proxies: proxies, Target: b.bulk, Streams: n, Upload: upload, Warmup: b.warmup, Duration: b.window, PIDs: pids,
		}})
		if err != nil {
			return err
		}
		rate, cpu := downRate, downCPU
		if upload {
			rate, cpu = upRate, upCPU
		}
		used := 0.0
		for _, seconds := range a.Stream.CPU {
			used += seconds
		}
		row := sessionsRow(n, processors)
		r.add(row, rate, float64(a.Stream.Bytes)*8/a.Stream.Seconds/1e6)
		r.add(row, cpu, used/float64(a.Stream.Bytes)*1e9)
	}
	return nil
}
