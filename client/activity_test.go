package client

import "testing"

// What has not moved for so many sweeps is over, and what moves again begins anew.
func TestActivity(t *testing.T) {
	var a activity
	a.note()
	for i, moves := range []bool{false, false, true, false, false, false} {
		if moves {
			a.note()
		}
		if got, want := a.over(3), i == 5; got != want {
			t.Errorf("sweep %d: over is %v", i, got)
		}
	}
}
