package udpio

import (
	"testing"
	"testing/synctest"
	"time"
)

// A destination gets what a common receive buffer holds, and then a pause; less often what comes
// more slowly; and what others get beside a lot is not counted with it.
func TestBurst(t *testing.T) {
	type step struct {
		after time.Duration
		to    string
		n     int // of 1,200 bytes
		rest  bool
	}
	for name, steps := range map[string][]step{
		"two runs at once":          {{0, "a", 54, false}, {0, "a", 54, true}, {0, "a", 10, false}, {0, "a", 1, true}},
		"one by one":                {{0, "a", 64, false}, {0, "a", 1, true}},
		"more than that in a piece": {{0, "a", 200, false}, {0, "a", 1, true}},
		"in a millisecond":          {{0, "a", 60, false}, {time.Millisecond, "a", 60, false}},
		"in a tenth of one":         {{0, "a", 60, false}, {time.Millisecond / 10, "a", 10, false}, {time.Millisecond / 10, "a", 20, true}},
		"to others":                 {{0, "a", 60, false}, {0, "b", 1, false}, {0, "a", 60, true}, {0, "b", 61, false}, {0, "b", 60, true}},
		"to two by turns":           {{0, "a", 40, false}, {0, "b", 20, false}, {0, "b", 10, false}, {0, "b", 20, false}, {0, "b", 50, true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b Burst[string]
				b.Drain()
				for i, s := range steps {
					if s.after > 0 {
						time.Sleep(s.after)
						b.Drain()
					}
					if rest := !b.Takes(s.to, s.n, 1200*s.n); rest != s.rest {
						t.Errorf("step %d: a pause %v, want %v", i, rest, s.rest)
					}
				}
			})
		})
	}
}
