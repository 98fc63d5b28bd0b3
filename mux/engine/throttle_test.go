package engine

import (
	"fmt"
	"testing"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// throttled are networks that let each connection go fast for a while alone, with how many seconds 10 and 50 MB take
// there at most: half more than the worst of 8 seeds.
var throttled = []struct {
	name, text string
	most       [2]int64
}{
	{"hotel", `
paths: [{name: a, rtt: 30ms, rate: 60M, throttle: {fast: 30, slow: 0.256, bytes: 3000000, queue: 500ms}}]`, [2]int64{15, 47}},
	{"long queue", `
paths: [{name: a, rtt: 30ms, rate: 60M, throttle: {fast: 30, slow: 0.256, bytes: 3000000, queue: 4s}}]`, [2]int64{11, 40}},
	{"frozen", `
paths: [{name: a, rtt: 30ms, rate: 60M, throttle: {fast: 30, bytes: 1000000, queue: 500ms}}]`, [2]int64{24, 130}},
	{"two", `
paths: [{name: a, rtt: 30ms, rate: 60M, throttle: {fast: 30, slow: 0.256, bytes: 3000000, queue: 500ms}},
  {name: b, rtt: 50ms, rate: 40M, throttle: {fast: 20, slow: 0.256, bytes: 2000000, queue: 500ms}}]`, [2]int64{10, 36}},
	{"one of two", `
paths: [{name: a, rtt: 30ms, rate: 60M, throttle: {fast: 30, slow: 0.256, bytes: 3000000, queue: 500ms}},
  {name: b, rtt: 50ms, rate: 10M}]`, [2]int64{10, 28}},
	{"mild", `
paths: [{name: a, rtt: 30ms, rate: 60M, throttle: {fast: 30, slow: 1, bytes: 5000000, queue: 200ms}}]`, [2]int64{9, 28}},
}

// takes is how long a stream takes for so many bytes, all of them in order, at most so long; ns.
func (p *profile) takes(seed uint64, down bool, bytes uint64, most int64) (took int64, n *network) {
	n = p.open(seed, down)
	w, from, to := n.w, n.a, n.b
	if down {
		from, to = n.b, n.a
	}
	start := int64(1e9)
	w.run(start)
	w.at(start, func() {
		from.e.Wake(packet.Key{Proto: packet.ProtoTCP, SrcPort: 1}, endless{16000}, w.now)
		from.pump()
	})
	for w.now < start+most && to.space.Due < bytes {
		w.run(w.now + 20e6)
	}
	return w.now - start, n
}

// TestThrottled is how long 10 and 50 MB take where each connection is slow, or frozen, after its first bytes: the 10 of
// the first one took 45 s up and 76 s down, and the 50 five minutes and more.
func TestThrottled(t *testing.T) {
	for _, c := range throttled {
		for _, down := range []bool{false, true} {
			for i, mb := range []uint64{10, 50} {
				if raceOn && i > 0 {
					continue
				}
				t.Run(fmt.Sprintf("%s, %d MB, down %v", c.name, mb, down), func(t *testing.T) {
					t.Parallel()
					for seed := range uint64(seeds()) {
						took, n := sceneOf(t, c.text).takes(seed, down, mb*1e6, 300e9)
						t.Logf("seed %d: %.1f s, %d slowed, %d redialled", seed, float64(took)/1e9, n.a.slowed, n.redials)
						if took > c.most[i]*1e9 {
							t.Errorf("%d s are the most", c.most[i])
						}
					}
				})
			}
		}
	}
}

// TestSlowForAll has each connection have a slow queue of its own from a moment on, fresh ones as well, as where many
// share what queues fairly: what is made anew brings no more, so that it is done ever more seldom.
func TestSlowForAll(t *testing.T) {
	t.Parallel()
	const text = `
paths: [{name: a, rtt: 30ms, rate: 60M, throttle: {fast: 30, slow: 0.256, bytes: 1000000000, queue: 500ms, all: 3s}}]`
	for _, down := range []bool{false, true} {
		for seed := range uint64(seeds()) {
			_, n := sceneOf(t, text).takes(seed, down, 1<<40, 600e9)
			t.Logf("down %v, seed %d: %d slowed, %d redialled", down, seed, n.a.slowed, n.redials)
			if n.a.slowed == 0 || n.a.slowed > 7 {
				t.Error("once is enough to see that, and seven times in ten minutes the most")
			}
		}
	}
}
