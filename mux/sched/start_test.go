package sched

import "testing"

// A QUIC flow in a new session: neither path was ever full, TCP's windows say
// far more than they carry, and the round trips differ by little. What is in a
// path decides, or all of the flow moves from one to the other and back.
func TestOrderedIsSpreadEvenly(t *testing.T) {
	path := func(i int, rtt int64, flight int) Candidate {
		return Candidate{Path: i, RTT: rtt, Rate: 120 * mbit, Proven: 45 * mbit, Flight: flight, Own: flight, Room: 16384, Bulk: true, Open: true}
	}
	for _, c := range []struct {
		name string
		a, b Candidate
		want int
	}{
		{"the nearer one is fuller", path(0, 20_400_000, 90_000), path(1, 20_500_000, 60_000), 1},
		{"the other one is", path(0, 20_400_000, 60_000), path(1, 20_500_000, 90_000), 0},
		{"a far path waits until the near one is full", path(0, 20e6, 90_000), path(1, 60e6, 0), 0},
		{"and takes what would wait longer", path(0, 20e6, 400_000), path(1, 60e6, 0), 1},
	} {
		cs := []Candidate{c.a, c.b}
		if got := PickBulk(cs, 0b11, 1<<20, 0, true); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// A single packet goes at once, though the emptier path is a little farther.
func TestOrderedDoesNotWaitForItsLike(t *testing.T) {
	a := Candidate{Path: 0, RTT: 20_400_000, Rate: 120 * mbit, Proven: 45 * mbit, Flight: 90_000, Own: 90_000, Room: 16384, Bulk: true, Open: true}
	b := a
	b.Path, b.RTT, b.Flight, b.Own = 1, 20_500_000, 60_000, 60_000
	if got := PickBulk([]Candidate{a, b}, 0b11, 1300, 0, true); got != 1 {
		t.Errorf("%d, want 1", got)
	}
}

// What a session in its first seconds gives two equal paths stays within a few
// packets of even, whatever TCP's windows say.
func TestOrderedInSimulation(t *testing.T) {
	cs := []Candidate{
		{Path: 0, RTT: 20_400_000, Rate: 150 * mbit, Proven: 45 * mbit, Room: 1 << 20, Bulk: true, Open: true},
		{Path: 1, RTT: 20_500_000, Rate: 110 * mbit, Proven: 45 * mbit, Room: 1 << 20, Bulk: true, Open: true},
	}
	const packet, apart = 1300, 8 * 1300
	link := 48 * mbit
	const step = 100e3 // ns
	left := [2]float64{}
	for i := range 5000 {
		for range 4 { // more than both carry, until a window of 300 KB is out
			if cs[0].Flight+cs[1].Flight > 300_000 {
				break
			}
			if k := PickBulk(cs, 0b11, packet, 0, true); k != NoSubflow {
				cs[k].Flight += packet
				cs[k].Own += packet
			}
		}
		for k := range cs {
			left[k] += min(link*step, float64(cs[k].Flight))
			for left[k] >= packet && cs[k].Flight >= packet {
				left[k] -= packet
				cs[k].Flight -= packet
				cs[k].Own -= packet
			}
		}
		if d := cs[0].Flight - cs[1].Flight; i > 100 && (d > apart || d < -apart) {
			t.Fatalf("after %d ms %d and %d bytes under way", i/10, cs[0].Flight, cs[1].Flight)
		}
	}
}
