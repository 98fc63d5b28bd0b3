package engine

import (
	"testing"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// Paths that carry a little less than they did have no queue that stands for that: the pace was
// what they carry, the queue stayed as it was, and counted as none of ours.
func TestPathsThatCarryALittleLess(t *testing.T) {
	p := profiles(t)["uneven"]
	for _, less := range []float64{.92, .88} {
		for _, flows := range []int{0, 4} {
			middle := int64(0)
			for seed := range uint64(seeds()) {
				n := p.open(seed, false)
				start := int64(1e9 + 5e8*n.w.rnd.Float64())
				n.w.run(start)
				var sent []int64
				n.a.smallFlows(1, start, start+12*second, 16e6, &sent)
				if flows > 0 {
					n.a.largeFlows(flows, 1.25*n.sum, start, start+12*second)
				} else {
					n.a.e.Wake(packet.Key{Proto: packet.ProtoTCP, SrcPort: 1}, endless{16000}, start)
					n.a.pump()
				}
				n.w.run(start + 3*second)
				for _, l := range n.there {
					l.rate *= less
				}
				n.w.run(start + 13*second)
				middle += n.b.gameSince(sent, start+6*second).p50
			}
			middle /= int64(seeds()) * 1e5
			t.Logf("%.2f of the rates, %d flows: p50 of a small flow %d.%d ms", less, flows, middle/10, middle%10)
			if middle > 155 {
				t.Error("want 15.5 at most, of 10 on the way and 3 of queue")
			}
		}
	}
}
