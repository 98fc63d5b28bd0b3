package engine

import (
	"fmt"
	"testing"
)

// A half that only receives learns soon that nothing comes as its paths have died, one that rested among
// them: it may be the one who dials. It took 5 to 23 s for the path in use, 10 to more than 30 for the other, until
// the next of their keep-alives was due.
func TestReceiverLearnsOfDeaths(t *testing.T) {
	for _, rested := range []int64{5e9, 15e9, 60e9} {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprintf("after %d s, down %v", rested/1e9, down), func(t *testing.T) {
				t.Parallel()
				for seed := range uint64(4) {
					n := sceneOf(t, "paths: [{name: a, rtt: 20ms, rate: 50M}, {name: b, rtt: 40ms, rate: 30M, metered: true}]").open(seed, down)
					from, to := n.a, n.b
					if down {
						from, to = n.b, n.a
					}
					start := int64(1e9)
					died := start + rested
					var sent []int64
					from.smallFlows(1, start, died+30e9, 16e6, &sent)
					n.w.at(died, func() {
						for i := range n.there {
							n.there[i].dead, n.back[i].dead = true, true
						}
					})
					n.w.run(died)
					known := [2]int64{}
					for n.w.now < died+30e9 && (known[0] == 0 || known[1] == 0) {
						n.w.run(n.w.now + 5e6)
						for i, p := range to.e.paths {
							if known[i] == 0 && p.State() == PathDark {
								known[i] = n.w.now - died
							}
						}
					}
					t.Logf("seed %d: after %d and %d ms", seed, known[0]/1e6, known[1]/1e6)
					if known[0] == 0 || known[0] > 45e8 || known[1] == 0 || known[1] > 8e9 {
						t.Error("that is 4.5 and 8 s at most")
					}
				}
			})
		}
	}
}
