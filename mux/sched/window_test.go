package sched

import "testing"

// A segment of a stream goes by a farther path only if the stream's window takes what the nearer
// paths bring meanwhile.
func TestFits(t *testing.T) {
	const kib, most = 1 << 10, 16 << 10
	near := Candidate{Path: 0, RTT: 20e6, Rate: 100 * mbit, Bulk: true, Seen: true, Spare: 1 << 20}
	far := Candidate{Path: 1, RTT: 100e6, Rate: 10 * mbit, Room: 16384, Bulk: true, Seen: true, Spare: 1 << 20}
	with := func(c Candidate, f func(*Candidate)) Candidate { f(&c); return c }
	unseen := with(far, func(c *Candidate) { c.Seen, c.Spare = false, 10*1448 })
	for _, c := range []struct {
		name   string
		a, b   Candidate // b is chosen
		window int
		want   int
		far    bool
	}{
		{"the nearest path", far, near, 0, most, false},
		{"a window with room for 73 ms of the near path", near, far, 1200 * kib, most, true},
		{"with less", near, far, 1100 * kib, 0, true},
		{"what stands there counts", near, with(far, func(c *Candidate) { c.Flight = 250 * kib }), 1200 * kib, 0, true},
		{"a segment takes longer there than what stands on the near path", with(near, func(c *Candidate) { c.Flight = 875e3 }), far, 1100 * kib, 0, true},
		{"but no longer", with(near, func(c *Candidate) { c.Flight = 925e3 }), far, 1100 * kib, most, false},
		{"a path without a subflow for bulk is none", with(near, func(c *Candidate) { c.Bulk = false }), far, 0, most, false},
		{"its own path is none", with(near, func(c *Candidate) { c.Path = 1 }), far, 0, most, false},
		{"what waits for TCP's window is a round trip later", near, unseen, 2850 * kib, most, true},
		{"what does not wait goes", near, unseen, 2750 * kib, 10*1448 - packetSize, true},
		{"if it is worth it", near, with(unseen, func(c *Candidate) { c.Spare = 3000 }), 2750 * kib, 0, true},
		{"a near path whose TCP finds its window brings more", with(near, func(c *Candidate) { c.Seen, c.Rate = false, c.Rate/8 }), far, 250 * kib, 0, true},
		{"not so if as much has arrived", with(near, func(c *Candidate) { c.Seen, c.Rate, c.Proven = false, c.Rate/8, c.Rate/8 }), far, 160 * kib, most, true},
	} {
		n, far := Fits([]Candidate{c.a, c.b}, 0b11, 1, c.window, most)
		if n != c.want || far != c.far {
			t.Errorf("%s: %d, %v, want %d, %v", c.name, n, far, c.want, c.far)
		}
	}
}
