package fq

import "testing"

// What was used long ago is not shown.
func TestTrailTurns(t *testing.T) {
	var u Trail
	u.Turn(1e9)
	u.Now = 1
	for _, c := range []struct {
		at   int64
		want uint64
	}{{2e9, 1}, {1e9 + usedTime + 1, 1}, {1e9 + 2*usedTime + 3, 0}} {
		if u.Turn(c.at); u.Now|u.Before != c.want {
			t.Errorf("at %d: %b, want %b", c.at, u.Now|u.Before, c.want)
		}
	}
}
