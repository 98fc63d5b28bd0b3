package engine

import "testing"

// Many small flows beside bulk of datagrams take a good part of a path, now of this one and now
// of that: what they take is not the bulk's, and no queue that stands there whatever it does.
func TestManySmallFlows(t *testing.T) {
	p := profiles(t)["uneven"]
	for seed := range uint64(seeds()) {
		n := p.open(seed, true)
		start := int64(1e9 + 5e8*n.w.rnd.Float64())
		n.w.run(start)
		var sent []int64
		n.b.smallFlows(62, start, start+8*second, 20e6, &sent)
		n.b.largeFlows(2, 1.2*n.sum, start, start+8*second)
		n.w.run(start + 8*second)
		share := float64(n.a.bytes) / (n.sum * float64(8*second))
		n.w.run(start + 9*second)
		g := n.a.gameSince(sent, start+2*second)
		t.Logf("seed %d: %.2f of the sum for bulk; the small ones: p50 %d, p99 %d ms, %d lost", seed, share, g.p50/1e6, g.p99/1e6, g.lost)
		if g.p50 > 17e6 || g.p99 > 30e6 || g.lost > 0 || share < .82 {
			t.Error("want 0.82 for bulk, and 17 and 30 ms, where 10 are the way, with nothing lost")
		}
	}
}
