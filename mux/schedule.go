package mux

import "math/bits"

// The scheduler: pure functions of what is known about the subflows. The
// session fills the candidates (transmit.go), acts on the answer, and asks
// again when something changed.

// A candidate is what the scheduler knows of one subflow. Times are
// nanoseconds, amounts bytes.
type candidate struct {
	path    int     // index of its path: copies go to different paths first
	rtt     int64   // least round trip of the path
	extra   int64   // one-way queue of the path that is not ours
	back    int64   // queue of the way back: news of the path are that late
	queue   int64   // one-way queue of the path as just measured; -1 = not known
	swing   int64   // delay beyond the least, jitter and our own queue included; 0 = not known
	ahead   int64   // what waits on the subflow itself before anything more
	rate    float64 // bytes a nanosecond that the path carries; 0 = unknown
	seen    bool    // rate was seen with the path full; else a guess
	lossy   bool    // the path loses packets without being full
	stray   bool    // it may: nothing is known of it but a loss that no queue explains
	frail   bool    // it has lately lost some
	proven  float64 // and this much has arrived lately, full or not
	flight  int     // bytes of ours in the path, not acknowledged
	queued  int     // given to the subflow and not yet written
	own     int     // bytes of this subflow alone, on their way and queued
	room    int     // takes this much now; 0 = blocked
	open    bool    // TCP's window has room as well: what is given leaves at once
	share   float64 // bytes lately given to the path, for weights
	weight  int     // 0 = by rate
	bulk    bool    // may carry bulk; the others of a path stay thin
	backup  bool    // only when nothing else is up
	metered bool    // only when needed or allowed
	suspect bool    // something sent is overdue: may be stalled,
	doubt   int64   // and this long passes until that is known
	stale   bool    // no progress for about two round trips
	closed  bool    // takes nothing at all (over its byte cap, closing)
}

// there is how long a packet is under way, but for what is ours in front of it.
func (c *candidate) there() int64 { return c.rtt/2 + c.extra }

// arrival estimates when n more bytes would have arrived, from now.
func (c *candidate) arrival(n int) int64 { return c.there() + c.wait(n, c.rate) }

// wait is how long n more bytes stand in a queue, at that rate: what exceeds a
// round trip's worth.
func (c *candidate) wait(n int, rate float64) int64 {
	if rate <= 0 {
		return 0
	}
	return max(int64(float64(c.flight+c.queued+n)/rate)-c.rtt, 0)
}

// smallArrival is the arrival for a packet of a small flow: the bulk beside it
// that the kernel has not sent yet is not in its way, unless on its own subflow.
func (c *candidate) smallArrival(n int) int64 {
	if c.queue < 0 {
		return c.arrival(n) + c.ahead
	}
	return c.rtt/2 + c.queue + c.ahead
}

// usable marks the candidates that a class may use: never backup or metered
// ones while something better is up, never stale ones while something moves.
// It returns a bit set.
func usable(cs []candidate, metered bool) uint64 {
	var best uint64
	level := 99
	for i := range cs {
		c := &cs[i]
		if c.closed {
			continue
		}
		l := 0
		if c.stale {
			l += 4
		}
		if c.metered && !metered {
			l += 2
		}
		if c.backup {
			l++
		}
		if l < level {
			level, best = l, 0
		}
		if l == level {
			best |= 1 << i
		}
	}
	return best
}

// noSubflow says: nothing to choose now, wait for a change.
const noSubflow = -1

// standing is how much more a queue on a path costs than what waits in it now:
// as long as it stands, everything behind waits too, so that a flow spills over
// to the next path when the queue is this much shorter than the way is longer.
const standing = 3

// cost is the arrival of n more bytes, a queue of ours counted dearer. What a
// path carries that was never full is a guess from TCP's window, which doubles
// in a round trip when it is used: the path gets the chance. A flow that wants
// order is spared no queue, as what is spread is then together again, and takes
// no chances; and it is where the way is shorter at the moment: a sender that sees
// a round trip grow leaves slow start.
func (c *candidate) cost(n int, ordered bool) int64 {
	switch {
	case ordered:
		rate := c.likely()
		return c.rtt/2 + max(c.extra, c.swing-c.wait(0, rate)) + c.wait(n, rate)
	case !c.seen:
		return c.there() + max(c.wait(n, c.rate)-c.rtt, 0)/2*standing
	}
	return c.there() + c.wait(n, c.rate)*standing
}

// pickBulk chooses where the next burst of a bulk flow goes: the subflow on
// which it arrives first, and a slower one only when the backlog could not
// have left by the faster one in that time (ECF: Lim et al., CoNEXT 2017), or
// when what is first in the queue has waited for so long already. Where TCP
// still finds its window, a flow that wants order is given no more than that:
// each round trip more would tear it apart.
func pickBulk(cs []candidate, set uint64, backlog int, waited int64, ordered bool) int {
	best, fastest := noSubflow, noSubflow
	var bestAt, fastestAt int64
	weighted := false
	for i := range cs {
		c := &cs[i]
		if set&(1<<i) == 0 || !c.bulk {
			continue
		}
		weighted = weighted || c.weight > 0
		at := c.cost(quantum, ordered)
		if fastest == noSubflow || at < fastestAt {
			fastest, fastestAt = i, at
		}
		if c.room <= 0 || ordered && !c.seen && !c.open {
			continue
		}
		// Those of a path share its pace, so they must share the bytes.
		if best == noSubflow || c.before(&cs[best], at, bestAt, ordered) {
			best, bestAt = i, at
		}
	}
	if weighted {
		return pickWeighted(cs, set)
	}
	if best == noSubflow || best == fastest {
		return best
	}
	f, b := &cs[fastest], &cs[best]
	if f.path == b.path || ordered && bestAt < fastestAt+inTurn { // as good, and emptier
		return best
	}
	if f.rate <= 0 || waited > (b.rtt-f.rtt)/2+b.extra {
		return best
	}
	if wait := f.cost(backlog, ordered); bestAt > wait {
		return noSubflow
	}
	return best
}

// before says that c is better than b, as they would arrive then and then.
func (c *candidate) before(b *candidate, at, bAt int64, ordered bool) bool {
	switch {
	case c.path == b.path:
		return c.own < b.own
	case ordered && at < bAt+inTurn && at > bAt-inTurn:
		return c.fill() < b.fill()
	}
	return at < bAt
}

// pickWeighted keeps the bytes that paths were lately given in the ratio of their
// weights.
func pickWeighted(cs []candidate, set uint64) int {
	best := noSubflow
	var least float64
	for i := range cs {
		c := &cs[i]
		if set&(1<<i) == 0 || !c.bulk || c.room <= 0 {
			continue
		}
		if share := c.share / float64(max(c.weight, 1)); best == noSubflow || share < least {
			best, least = i, share
		}
	}
	return best
}

// inTurn is how much later than the best another subflow of the same path
// may be and still take its turn.
const inTurn = 2e6

// pickSmall chooses the subflow where n bytes of a small flow arrive first.
// turn rotates among the equally good ones, so that one stalled subflow meets
// few packets of a flow. A suspect subflow is taken when the others are later
// by more than it may hold a packet up: what stalls goes again elsewhere.
func pickSmall(cs []candidate, set uint64, n int, turn uint32) int {
	best := noSubflow
	var bestAt int64
	for i := range cs {
		c := &cs[i]
		if set&(1<<i) == 0 || c.room <= 0 {
			continue
		}
		at := c.smallArrival(n)
		if c.suspect {
			at += c.doubt
		}
		if best == noSubflow || at < bestAt {
			best, bestAt = i, at
		}
	}
	if best == noSubflow {
		return best
	}
	equal := peers(cs, set, n, best)
	for range turn % uint32(bits.OnesCount64(equal)) {
		equal &= equal - 1
	}
	return bits.TrailingZeros64(equal)
}

// settled returns the subflow that a small flow is on, at, as long as that is about
// as good as best: what goes by one subflow stays in order, and one subflow gets
// batches where each of several would get a packet. A subflow that may be stalled,
// or full, is left, as is one of a path that is farther now.
func settled(cs []candidate, set uint64, n, best, at int) int {
	if at == noSubflow || at == best || set&(1<<at) == 0 {
		return best
	}
	c, b := &cs[at], &cs[best]
	if c.room <= 0 || c.suspect && !b.suspect || c.smallArrival(n) > b.smallArrival(n)+inTurn {
		return best
	}
	return at
}

// peers returns the subflows of best's path that are about as good.
func peers(cs []candidate, set uint64, n int, best int) (equal uint64) {
	b := &cs[best]
	latest := b.smallArrival(n) + inTurn
	for i := range cs {
		c := &cs[i]
		if set&(1<<i) == 0 || c.room <= 0 || (c.suspect && !b.suspect) || c.path != b.path {
			continue
		}
		if c.smallArrival(n) <= latest {
			equal |= 1 << i
		}
	}
	return equal
}

// pickCopy chooses where a copy goes, given the subflows that already carry
// the packet: on another path, or, when same is set, on another subflow of a
// path that has one. It returns noSubflow when no copy would help.
func pickCopy(cs []candidate, set, carried uint64, n int, turn uint32, same bool) int {
	var paths uint64
	for i := range cs {
		if carried&(1<<i) != 0 {
			paths |= 1 << cs[i].path
		}
	}
	var fit uint64
	for i := range cs {
		c := &cs[i]
		if set&(1<<i) == 0 || carried&(1<<i) != 0 || c.suspect || c.stale {
			continue
		}
		if (paths&(1<<c.path) != 0) == same {
			fit |= 1 << i
		}
	}
	if fit == 0 {
		return noSubflow
	}
	return pickSmall(cs, fit, n, turn)
}
