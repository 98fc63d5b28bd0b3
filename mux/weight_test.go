package mux

import "testing"

// A path with a weight that comes late, or comes back, gets its share and not all
// until it has caught up with what the other carried before.
func TestWeightOfALatePath(t *testing.T) {
	const rate = 5000 // bytes a millisecond
	a, b := &path{cfg: Path{Weight: 1}}, &path{cfg: Path{Weight: 1}}
	run := func(ms int64, both bool) (toA, toB float64) {
		for i := range ms {
			set := uint64(1)
			if both {
				set = 3
			}
			cs := []candidate{{weight: 1, share: a.share, bulk: true, room: 1e6}, {path: 1, weight: 1, share: b.share, bulk: true, room: 1e6}}
			if pickWeighted(cs, set) == 0 {
				a.share, toA = a.share+rate, toA+rate
			} else {
				b.share, toB = b.share+rate, toB+rate
			}
			if i%100 == 99 {
				a.fade(1e8)
				b.fade(1e8)
			}
		}
		return toA, toB
	}
	run(600_000, false)
	if a, b := run(3000, true); a < 0.1*b {
		t.Errorf("in the first three seconds %.0f and %.0f bytes", a, b)
	}
	if a, b := run(3000, true); a < 0.8*b || b < 0.8*a {
		t.Errorf("after that %.0f and %.0f bytes", a, b)
	}
}
