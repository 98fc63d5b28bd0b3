package mux

import (
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// wireOf is what a way has carried as packets of IPv4 and TCP with timestamps, if each is
// acknowledged by one of its own: TCP would often save that one.
func wireOf(w *simWay) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	const head = 20 + 32
	return w.sent + 2*head*w.units
}

// A day at rest, with all that TLS and the headers add: what a path costs, what the caps
// count, and that the monitors sleep.
func TestRestingDay(t *testing.T) {
	paths := []simPath{newSimPath(60, 20*time.Millisecond), newSimPath(40, 50*time.Millisecond)}
	simulate(t, paths, autoSubflows, func(s *Session, _ *arrivals) {
		s.enter(func(e *engine.Engine, _ int64) {
			p := e.Paths()[1]
			p.Configure(engine.PathConfig{Name: "b", Metered: true})
			for _, f := range p.Subflows() {
				f.Control((&mptcp.Prio{Backup: true}).Append(nil))
			}
		})
		s.pump()
		time.Sleep(5 * time.Minute) // until it knows what the paths bear
		var before [2]int
		for i, p := range paths {
			before[i] = wireOf(p.there) + wireOf(p.back)
		}
		var counted uint64
		for _, f := range s.core.connections() {
			counted -= f.octets()
		}
		ticks := s.monitor.ticks.Load()
		time.Sleep(24 * time.Hour)
		for i, p := range paths {
			mb := float64(wireOf(p.there)+wireOf(p.back)-before[i]) / 1e6
			t.Logf("path %d: %.2f MB a day", i, mb)
			if most := [...]float64{3, 1}[i]; mb > most || mb < 0.1 {
				t.Errorf("path %d costs %.2f MB a day, the bar is %.0f", i, mb, most)
			}
		}
		for _, f := range s.core.connections() {
			counted += f.octets()
		}
		if counted < 250_000 { // of two paths, in TLS alone
			t.Errorf("%d bytes counted in a day", counted)
		}
		if n := s.monitor.ticks.Load() - ticks; n > 24*3600 {
			t.Errorf("the monitor ticked %d times in a day", n)
		}
		for _, p := range s.Snapshot().Paths {
			if p.KeepAlive != 48 || p.Dark || p.Subflows != autoSubflows {
				t.Errorf("after a day: %+v", p)
			}
		}
		resting := 0
		for _, f := range s.Snapshot().Subflows {
			if f.State == "resting" {
				resting++
			}
		}
		if resting != 2*(autoSubflows-1) {
			t.Errorf("%d subflows rest", resting)
		}
		sendOne(s, 1, 1200)
		sendOne(s, 2, 1200)
		time.Sleep(100 * time.Millisecond) // more than a round trip of either
		up := map[string]int{}
		for _, f := range s.Snapshot().Subflows {
			if f.State == "up" {
				up[f.Path]++
			}
		}
		if up["a"] != autoSubflows || up["b"] != 1 {
			t.Errorf("a round trip after something began so many are up: %v", up)
		}
	})
}
