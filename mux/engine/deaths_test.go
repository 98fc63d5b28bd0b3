package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// steady plays a constant load, in Mbit/s of payload, and returns how many datagrams of it
// were sent and came.
func (p *profile) steady(seed uint64, rate float64, down bool) (sent, came int, g game) {
	n := p.open(seed, down)
	w, from, to := n.w, n.a, n.b
	if down {
		from, to = n.b, n.a
	}
	start := int64(1e9 + 5e8*w.rnd.Float64())
	n.befalls(start)
	w.run(start)
	var call []int64
	from.smallFlows(1, start, start+profileSpan, 16e6, &call)
	from.largeFlows(1, rate*mbit, start, start+profileSpan)
	w.run(start + profileSpan + 3e9)
	return from.offered, to.datagrams, to.game(call)
}

// TestDeathLosesNothing: one path of two dies, and comes back, and the other one can carry what
// there is. Nothing is dropped of it for having waited until then.
func TestDeathLosesNothing(t *testing.T) {
	for _, c := range []struct {
		dies  string
		rates []float64
	}{
		{"a", []float64{10, 30, 32}},
		{"b", []float64{30, 50}},
	} {
		p := *profiles(t)["silent_death"]
		p.Events = append([]profileEvent{}, p.Events...)
		for i := range p.Events {
			p.Events[i].Path = c.dies
		}
		for _, rate := range c.rates {
			t.Run(fmt.Sprintf("%s dies, %g Mbit/s", c.dies, rate), func(t *testing.T) {
				t.Parallel()
				for seed := range uint64(seeds()) {
					for _, down := range []bool{false, true} {
						sent, came, g := p.steady(seed, rate, down)
						if came != sent || g.lost > 0 {
							t.Errorf("seed %d, down %v: %d of %d lost, %d of a call", seed, down, sent-came, sent, g.lost)
						}
					}
				}
			})
		}
	}
}

// The same with paths of any kind, and a load that the one that is left can carry with a tenth
// to spare.
func TestAnyDeathLosesNothing(t *testing.T) {
	for seed := range uint64(seeds()) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		text := "paths:\n"
		rates := [2]float64{}
		for i, name := range []string{"a", "b"} {
			rates[i] = 20 + 80*rnd.Float64()
			text += fmt.Sprintf("  - {name: %s, rtt: %dms, rate: %.1fM, queue: %dms}\n", name, 10+rnd.IntN(90), rates[i], 20+rnd.IntN(100))
		}
		text += "events:\n  - {at: 4s, path: a, do: black_hole}\n  - {at: 7s, path: a, do: restore}\n"
		p := sceneOf(t, text)
		for _, down := range []bool{false, true} {
			if sent, came, g := p.steady(seed, rates[1]*0.85, down); came != sent || g.lost > 0 {
				t.Errorf("%s seed %d, down %v: %d of %d lost, %d of a call", text, seed, down, sent-came, sent, g.lost)
			}
		}
	}
}
