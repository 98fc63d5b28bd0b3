package engine

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// scenes are networks as people have them, each with something that makes a belief of the
// engine wrong: none may make it slower than the best of its paths alone, nor lose or hold up a
// call.
var scenes = map[string]string{
	"halved": `
paths: [{name: a, rtt: 20ms, rate: 60M}, {name: b, rtt: 40ms, rate: 30M}]
events: [{at: 3s, path: a, do: set, rate: 30M}, {at: 6s, path: a, do: set, rate: 60M}]`,
	"handovers": `
paths: [{name: a, rtt: 30ms, rate: 40M, queue: 100ms}, {name: b, rtt: 50ms, rate: 60M, queue: 100ms}]
events: [{at: 2s, path: b, do: set, rtt: 150ms}, {at: 5s, path: b, do: set, rtt: 50ms}, {at: 8s, path: b, do: set, rtt: 150ms}]`,
	"bloat": `
paths: [{name: a, rtt: 20ms, rate: 30M, queue: 1s}, {name: b, rtt: 40ms, rate: 20M, queue: 1s}]`,
	"bunched": `
paths: [{name: a, rtt: 10ms, rate: 60M, bunch: 8ms}, {name: b, rtt: 40ms, rate: 30M, queue: 100ms}]`,
	"one loses": `
paths: [{name: a, rtt: 20ms, rate: 60M}, {name: b, rtt: 50ms, rate: 40M, loss: 0.05}]`,
	"nearer loses": `
paths: [{name: a, rtt: 20ms, rate: 60M, loss: 0.05}, {name: b, rtt: 50ms, rate: 40M}]`,
	"three": `
paths: [{name: a, rtt: 15ms, rate: 40M}, {name: b, rtt: 40ms, rate: 20M, queue: 100ms}, {name: c, rtt: 70ms, rate: 30M, queue: 100ms, jitter: 5ms}]`,
	"eight": `
paths: [{name: a, rtt: 10ms, rate: 20M}, {name: b, rtt: 20ms, rate: 10M}, {name: c, rtt: 30ms, rate: 10M}, {name: d, rtt: 40ms, rate: 10M},
  {name: e, rtt: 50ms, rate: 10M}, {name: f, rtt: 60ms, rate: 5M}, {name: g, rtt: 100ms, rate: 5M}, {name: h, rtt: 200ms, rate: 5M}]`,
	"thin beside": `
paths: [{name: a, rtt: 10ms, rate: 300M, queue: 20ms}, {name: b, rtt: 60ms, rate: 1M, queue: 200ms}]`,
	"mute": `
paths: [{name: a, rtt: 20ms, rate: 50M}, {name: b, rtt: 40ms, rate: 40M}]
events: [{at: 3s, path: a, do: mute}, {at: 6s, path: a, do: restore}]`,
	"deaf": `
paths: [{name: a, rtt: 20ms, rate: 50M}, {name: b, rtt: 40ms, rate: 40M}]
events: [{at: 3s, path: a, do: deaf}, {at: 6s, path: a, do: restore}]`,
	"comes back thin": `
paths: [{name: a, rtt: 20ms, rate: 50M}, {name: b, rtt: 40ms, rate: 40M}]
events: [{at: 3s, path: a, do: black_hole}, {at: 5s, path: a, do: restore}, {at: 5s, path: a, do: set, rate: 5M}]`,
}

const veryThin = `
paths: [{name: a, rtt: 30ms, rate: 50M}, {name: b, rtt: 60ms, rate: 0.3M, queue: 500ms}]`

// sceneFlows are more of them, with how many flows of datagrams; 0 = a stream.
var sceneFlows = []struct {
	name  string
	text  string
	flows []int
}{
	// More than its rate is dropped, and waits for nothing.
	{"policed", `
paths: [{name: a, rtt: 20ms, rate: 100M, police: {rate: 30, bucket: 60000}}, {name: b, rtt: 50ms, rate: 20M}]`, []int{0, 4}},
	{"comes back far", `
paths: [{name: a, rtt: 20ms, rate: 50M}, {name: b, rtt: 40ms, rate: 40M}]
events: [{at: 3s, path: a, do: black_hole}, {at: 5s, path: a, do: restore}, {at: 5s, path: a, do: set, rtt: 300ms}]`, []int{0}},
	// What went by the far path goes again by the near one, beside a call.
	{"a far one ends", `
paths: [{name: a, rtt: 20ms, rate: 50M}, {name: b, rtt: 200ms, rate: 40M}]
events: [{at: 3s, path: b, do: black_hole}, {at: 5s, path: b, do: restore}, {at: 5s, path: b, do: set, rtt: 20ms}]`, []int{0, 4}},
	{"a tenth for a time", `
paths: [{name: a, rtt: 20ms, rate: 50M}, {name: b, rtt: 40ms, rate: 40M}]
events: [{at: 3s, path: a, do: set, rate: 5M}, {at: 6s, path: a, do: set, rate: 50M}]`, []int{4}},
	{"very thin beside", veryThin, []int{0}},
}

// downScenes are those that are played from the server to the client.
var downScenes = map[string]string{
	"thin ways back": `
paths: [{name: a, rtt: 20ms, down: {rate: 100M}, up: {rate: 1M, queue: 200ms}}, {name: b, rtt: 40ms, down: {rate: 50M}, up: {rate: 1M, queue: 200ms}}]`,
	"mute": scenes["deaf"],
	"deaf": scenes["mute"],
}

// bestAlone plays all paths alone. It returns the most that one of them has carried, and the
// shortest 99th percentile of a call that lost nothing.
func (p *profile) bestAlone(seed uint64, flows int, down bool) (best outcome) {
	best.game.p99 = 1e18
	for i := range p.Paths {
		o := p.only(i).play(seed, flows, down)
		best.bytes = max(best.bytes, o.bytes)
		best.anew += o.anew
		if o.game.lost == 0 {
			best.game.p99 = min(best.game.p99, o.game.p99)
		}
	}
	return best
}

const (
	sceneLeast = 0.95 // of what the best path alone carries,
	sceneLate  = 25e6 // and so much later than there the 99th of 100 packets of a call, ns
)

func TestScenes(t *testing.T) {
	if raceOn {
		t.Skip("nothing in it happens at once, and it takes minutes")
	}
	play := func(name string, p *profile, flows int, down bool) {
		t.Run(fmt.Sprintf("%s, %d flows, down %v", name, flows, down), func(t *testing.T) {
			t.Parallel()
			anew := 0 // connections that may be taken for throttled
			if name == "policed" {
				anew = 1 // one that the policer has driven into timeouts, by itself, and that is worth nothing any more
			}
			for seed := range uint64(max(seeds()/2, 1)) {
				best, o := p.bestAlone(seed, flows, down), p.play(seed, flows, down)
				share := float64(o.bytes) / float64(best.bytes)
				t.Logf("seed %d: %.2f of the best path alone, %.2f of the sum; a call: p99 %d ms (%d), longest %d, %d lost; %d and %d taken for throttled", seed,
					share, o.share, o.game.p99/1e6, best.game.p99/1e6, o.game.longest/1e6, o.game.lost, o.anew, best.anew)
				if share < sceneLeast || o.anew+best.anew > anew || o.game.p99 > best.game.p99+sceneLate || o.game.lost > 0 {
					t.Error("it falls short")
				}
			}
		})
	}
	for i, name := range slices.Sorted(maps.Keys(scenes)) { // streams, and datagrams, in turn
		play(name, sceneOf(t, scenes[name]), i%2*4, false)
	}
	for _, c := range sceneFlows {
		for _, flows := range c.flows {
			play(c.name, sceneOf(t, c.text), flows, false)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(downScenes)) {
		play(name, sceneOf(t, downScenes[name]), 0, true)
	}
}
