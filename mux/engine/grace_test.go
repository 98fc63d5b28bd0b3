package engine

import (
	"testing"

	"github.com/mpsocks/mpsocks/mux/fq"
)

// The grace after a death goes on while what waits becomes less, and ends when it does not,
// or when it has been long enough.
func TestGraceLasts(t *testing.T) {
	play := func(waits func(now int64) int) (ended int64) {
		var g grace
		g.begin(1e9)
		for now := int64(1e9); now < 40e9; now += 5e6 {
			if !g.lasts(now, waits(now)) {
				if g.lasts(now+1, 0) {
					t.Error("it begins anew by itself")
				}
				return now - 1e9
			}
		}
		return 40e9
	}
	for _, c := range []struct {
		name        string
		waits       func(now int64) int
		least, most int64
	}{
		{"nothing", func(int64) int { return 0 }, fq.GraceTime, fq.GraceTime + graceLull + 10e6},
		{"it stands", func(int64) int { return 1e6 }, fq.GraceTime, fq.GraceTime + graceLull + 10e6},
		{"it grows", func(now int64) int { return int(now / 1000) }, fq.GraceTime, fq.GraceTime + graceLull + 10e6},
		{"worked off within six seconds", func(now int64) int { return int(max(7e9-now, 0) / 1e4) }, 6e9, 6e9 + graceLull + 10e6},
		{"in jumps", func(now int64) int { return int(max(7e9-now, 0)/1e4) + int(now/5e6%7)*1000 }, 5e9, 6e9 + graceLull + 10e6},
		{"without an end", func(now int64) int { return int(4e9 - now/10) }, graceMost, graceMost + 10e6},
	} {
		if got := play(c.waits); got < c.least || got > c.most {
			t.Errorf("%s: it has lasted for %d ms, want %d to %d", c.name, got/1e6, c.least/1e6, c.most/1e6)
		}
	}
}

// A session's start is no death: what waits there is dropped for its age after GraceTime, also
// where it becomes less.
func TestGraceOfAStart(t *testing.T) {
	var g grace
	waiting := 1 << 20
	for now := int64(0); now < graceMost; now += 100e6 {
		if got, want := g.lasts(now, waiting), now < fq.GraceTime; got != want {
			t.Fatalf("%d ms after the start: %v", now/1e6, got)
		}
		waiting -= waiting / 8
	}
}
