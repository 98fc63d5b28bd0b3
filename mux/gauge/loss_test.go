package gauge

import (
	"testing"
)

func TestLossJudge(t *testing.T) {
	for _, c := range []struct {
		name          string
		queue         int64
		segs, retrans uint64
		want          bool
	}{
		{"clean", 2e6, 400, 0, false},
		{"random loss", 2e6, 400, 4, true},
		{"loss of a full queue", 40e6, 400, 8, false},
		{"too few to say", 2e6, 40, 1, false},
	} {
		var l LossJudge
		got := false
		for i := range int64(6) {
			got = l.Note(i*100e6, c.queue, c.segs, c.retrans)
		}
		if got != c.want {
			t.Errorf("%s: lossy %v", c.name, got)
		}
		if got && l.Note(lossyForget+1e9, c.queue, 0, 0) {
			t.Errorf("%s: never forgotten", c.name)
		}
	}
	// What slow start overshot by is lost at once, and says nothing.
	var l LossJudge
	for i := range int64(20) {
		lost := uint64(0)
		if i == 3 {
			lost = 60
		}
		if l.Note(i*100e6, 2e6, 600, lost) {
			t.Errorf("one burst of loss makes a path lossy")
		}
	}
}

// CUBIC is driven out when there is room and it does not take it.
func TestCubicDrivenOut(t *testing.T) {
	for _, c := range []struct {
		name          string
		queue         int64
		through, pace float64
		limited, want bool
	}{
		{"half of the pace, and nothing in the way", 1e6, 50 * mbit, 100 * mbit, true, true},
		{"the path is full", 20e6, 50 * mbit, 100 * mbit, true, false},
		{"there is no more to send", 1e6, 50 * mbit, 100 * mbit, false, false},
		{"all that the pace lets pass", 1e6, 97 * mbit, 100 * mbit, true, false},
		{"not paced", 1e6, 50 * mbit, 0, true, false},
	} {
		var l LossJudge
		got := false
		for i := range int64(lossySure) {
			if got {
				t.Errorf("%s: after %d measurements", c.name, i)
			}
			got = l.Yields(i*100e6, c.queue, c.through, c.pace, c.limited)
		}
		if got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if l.Yields(lossyForget+1e9, 0, 0, 0, false) {
			t.Errorf("%s: never forgotten", c.name)
		}
	}
}
