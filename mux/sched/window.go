package sched

import "math"

// startMost bounds for how many round trips TCP's window is taken to double.
const startMost = 16

// startGrows is how much more than has arrived TCP's window lets pass while it doubles, at least.
const startGrows = 1.3

// carries estimates how many bytes the path brings in so many ns from now on. While TCP finds its
// window, which doubles in a round trip, that is more than its rate says.
func (c *Candidate) carries(ns int64) float64 {
	n := c.Rate * float64(ns)
	if trips := float64(ns) / float64(max(c.RTT, 1)); trips > 1 && !c.Seen && c.Rate > startGrows*c.Proven {
		n *= (math.Exp2(min(trips, startMost)) - 1) / trips
	}
	return n
}

// told is the part of a stream's window that its sender can count on: the peer says that more was
// read when it is a quarter.
const told = 0.75

// streamLeast is the least segment of a stream, in bytes, that is worth one.
const streamLeast = 4 << 10

// Fits returns how large a segment of a stream may be, in bytes and most at most, that goes by the
// chosen subflow; 0 = it has to wait for a nearer path. Until a segment is there and the peer has said
// so, the nearer paths bring what comes behind it: if that is more than the stream's window takes, the
// stream stops (BLEST: Ferlin et al., IFIP Networking 2016). Where TCP finds its window, what waits for
// an acknowledgement is there a round trip later: less is given if that is too late. far says that there
// are nearer paths.
func Fits(cs []Candidate, set uint64, chosen, window, most int) (n int, far bool) {
	b := &cs[chosen]
	at, room := b.whole(most), told*float64(window)
	if !b.Seen && b.Spare < most {
		at += b.RTT
	}
	first, sum := behind(cs, set, b, most, at)
	switch {
	case first == NoSubflow:
		return most, false
	case sum <= room:
		return most, true
	case b.Seen || b.Spare < streamLeast:
		return 0, true
	}
	n = min(most, b.Spare-packetSize)
	if _, sum = behind(cs, set, b, n, b.whole(n)); sum > room {
		return 0, true
	}
	return n, true
}

// whole estimates when all of n more bytes would have arrived, from now.
func (c *Candidate) whole(n int) int64 {
	at := c.arrival(0)
	if c.Rate > 0 {
		at += int64(float64(n) / c.Rate)
	}
	return at
}

// behind returns what the paths bring, in bytes, by which as large a segment would be there before at,
// until the peer's word of what is there then is back, and the first of their subflows.
func behind(cs []Candidate, set uint64, b *Candidate, n int, at int64) (first int, sum float64) {
	var had uint64
	first = NoSubflow
	for i := range cs {
		c := &cs[i]
		if set&(1<<i) == 0 || !c.Bulk || c.Path == b.Path || had&(1<<c.Path) != 0 || c.whole(n) >= at {
			continue
		}
		if had == 0 {
			first = i
		}
		had |= 1 << c.Path
		sum += c.carries(at + c.RTT/2)
	}
	return first, sum
}
