package mptcp

import (
	"math/rand/v2"
	"testing"
)

// TestHalf: whatever is sent by a subflow is read as it was, wraps and all, and where little
// lies between two numbers their lower halves do.
func TestHalf(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var out, in Half
	n, halves := uint64(0xFFFF_FF00), 0
	for i := range 100_000 {
		switch rnd.IntN(20) {
		case 0: // others carried this much in between
			n += rnd.Uint64N(1 << 34)
		case 1: // again, of what another one held
			n -= rnd.Uint64N(32 << 20)
		default:
			n += rnd.Uint64N(65536)
		}
		sent, enough := n, out.Enough(n)
		if enough {
			sent = uint64(uint32(n))
			halves++
		}
		if got := in.Read(sent, !enough, 0); got != n {
			t.Fatalf("number %d: %#x was read as %#x", i, n, got)
		}
	}
	if halves < 90_000 || halves > 99_000 {
		t.Errorf("%d of 100,000 by halves", halves)
	}
}

// TestHalfFirst: the first half of a number lies nearest to what is expected, and what comes
// late on a stalled subflow to what that one brought before.
func TestHalfFirst(t *testing.T) {
	var h Half
	if got := h.Read(5, false, 0x1_FFFF_FFF0); got != 0x2_0000_0005 {
		t.Errorf("first: %#x", got)
	}
	if got := h.Read(9, false, 0x7_0000_0000); got != 0x2_0000_0009 {
		t.Errorf("late: %#x", got)
	}
}
