package sched

import (
	"math"
	"math/bits"
)

// The scheduler: pure functions of what is known about the subflows. The
// session fills the candidates (transmit.go), acts on the answer, and asks
// again when something changed.

// A Candidate is what the scheduler knows of one subflow. Times are
// nanoseconds, amounts bytes.
type Candidate struct {
	Path    int     // index of its path: copies go to different paths first
	RTT     int64   // least round trip of the path
	Extra   int64   // one-way queue of the path that is not ours
	Back    int64   // queue of the way back: news of the path are that late
	Queue   int64   // one-way queue of the path as just measured; -1 = not known
	Swing   int64   // delay beyond the least, jitter and our own queue included; 0 = not known
	Ahead   int64   // what waits on the subflow itself before anything more
	Rate    float64 // bytes a nanosecond that the path carries; 0 = unknown
	Seen    bool    // rate was seen with the path full; else a guess
	Lossy   bool    // the path loses packets without being full
	Stray   bool    // it may: nothing is known of it but a loss that no queue explains
	Frail   bool    // it has lately lost some
	Proven  float64 // and this much has arrived lately, full or not
	Flight  int     // bytes of ours in the path, not acknowledged
	Queued  int     // given to the subflow and not yet written
	Own     int     // bytes of this subflow alone, on their way and queued
	Room    int     // takes this much now; 0 = blocked
	Open    bool    // TCP's window has room as well: what is given leaves at once
	Spare   int     // and for so much, path seen or not; negative = more waits than it has
	Share   float64 // bytes lately given to the path, for weights
	Weight  int     // 0 = by rate
	Bulk    bool    // may carry bulk; the others of a path stay thin,
	Helps   bool    // but this one takes what wants order where the window of the only one that carries bulk is full
	Backup  bool    // only when nothing else is up
	Metered bool    // only when needed or allowed
	Suspect bool    // something sent is overdue: may be stalled,
	Doubt   int64   // and this long passes until that is known
	Stale   bool    // no progress for about two round trips
	Closed  bool    // takes nothing at all (over its byte cap, closing)
}

// there is how long a packet is under way, but for what is ours in front of it.
func (c *Candidate) there() int64 { return c.RTT/2 + c.Extra }

// arrival estimates when n more bytes would have arrived, from now.
func (c *Candidate) arrival(n int) int64 { return c.there() + c.wait(n, c.Rate) }

// wait is how long n more bytes stand in a queue, at that rate: what exceeds a
// round trip's worth.
func (c *Candidate) wait(n int, rate float64) int64 {
	if rate <= 0 {
		return 0
	}
	return max(int64(float64(c.Flight+c.Queued+n)/rate)-c.RTT, 0)
}

// smallArrival is the arrival for a packet of a small flow: the bulk beside it
// that the kernel has not sent yet is not in its way, unless on its own subflow.
func (c *Candidate) smallArrival(n int) int64 {
	if c.Queue < 0 {
		return c.arrival(n) + c.Ahead
	}
	return c.RTT/2 + c.Queue + c.Ahead
}

// Usable marks the candidates that a class may use: never backup or metered
// ones while something better is up, never stale ones while something moves.
// It returns a bit set.
func Usable(cs []Candidate, metered bool) uint64 { return UsableOf(cs, ^uint64(0), metered) }

// UsableOf is Usable for a class that may use no other candidates than those of a set.
func UsableOf(cs []Candidate, of uint64, metered bool) uint64 {
	var best uint64
	level := 99
	for i := range cs {
		c := &cs[i]
		if c.Closed || of&(1<<i) == 0 {
			continue
		}
		l := 0
		if c.Stale {
			l += 4
		}
		if c.Metered && !metered {
			l += 2
		}
		if c.Backup {
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

// packetSize stands for one packet, in bytes, where more are to follow.
const packetSize = 1514

// NoSubflow says: nothing to choose now, wait for a change.
const NoSubflow = -1

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
func (c *Candidate) cost(n int, ordered bool) int64 {
	switch {
	case ordered:
		rate := c.likely()
		return c.RTT/2 + max(c.Extra, c.Swing-c.wait(0, rate)) + c.wait(n, rate)
	case !c.Seen:
		return c.there() + max(c.wait(n, c.Rate)-c.RTT, 0)/2*standing
	}
	return c.there() + c.wait(n, c.Rate)*standing
}

// PickBulk chooses where the next burst of a bulk flow goes: the subflow on
// which it arrives first, and a slower one only when the backlog could not
// have left by the faster one in that time (ECF: Lim et al., CoNEXT 2017), or
// when what is first in the queue has waited for so long already. Where TCP
// still finds its window, a flow that wants order is given no more than that:
// each round trip more would tear it apart.
func PickBulk(cs []Candidate, set uint64, backlog int, waited int64, ordered bool) int {
	best, fastest := NoSubflow, NoSubflow
	var bestAt, fastestAt int64
	weighted := false
	for i := range cs {
		c := &cs[i]
		if set&(1<<i) == 0 || !c.Bulk && !ordered {
			continue
		}
		weighted = weighted || c.Weight > 0
		at := c.cost(packetSize, ordered)
		if fastest == NoSubflow || at < fastestAt {
			fastest, fastestAt = i, at
		}
		if c.Room <= 0 || ordered && !c.Seen && !c.Open {
			continue
		}
		// Those of a path share its pace, so they must share the bytes.
		if best == NoSubflow || c.before(&cs[best], at, bestAt, ordered) {
			best, bestAt = i, at
		}
	}
	if weighted {
		return PickWeighted(cs, set)
	}
	if best == NoSubflow || best == fastest {
		return best
	}
	f, b := &cs[fastest], &cs[best]
	if f.Path == b.Path || ordered && bestAt < fastestAt+inTurn { // as good, and emptier
		return best
	}
	if f.Rate <= 0 || waited > (b.RTT-f.RTT)/2+b.Extra {
		return best
	}
	if wait := f.cost(backlog, ordered); bestAt > wait {
		return NoSubflow
	}
	return best
}

const (
	// withinRTT is the round trip, in ns, below which a way ends on this machine.
	withinRTT = 50e3
	// withinLess is how many bytes fewer another subflow has there: what is small wakes one reader.
	withinLess = 128 << 10
)

// Within returns which of the chosen subflow and those of other paths a stream takes where the ways end on this
// machine and the chosen one's path has no other for bulk: that with the fewest bytes. Such ways differ by less
// than a reader takes to wake, and two subflows have two readers. Else it is NoSubflow.
func Within(cs []Candidate, set uint64, chosen int) int {
	best, least := chosen, cs[chosen].Own-withinLess
	for i := range cs {
		c := &cs[i]
		switch {
		case set&(1<<i) == 0 || !c.Bulk:
		case c.Weight > 0, i == chosen && !c.within(), i != chosen && c.Path == cs[chosen].Path:
			return NoSubflow
		case c.Room > 0 && c.within() && c.Own <= least:
			best, least = i, c.Own-1
		}
	}
	return best
}

// within says that the way is known to end on this machine.
func (c *Candidate) within() bool { return c.RTT > 0 && c.RTT < withinRTT }

// before says that c is better than b, as they would arrive then and then.
func (c *Candidate) before(b *Candidate, at, bAt int64, ordered bool) bool {
	switch {
	case c.Path == b.Path:
		return c.Own < b.Own
	case ordered && at < bAt+inTurn && at > bAt-inTurn:
		return c.fill() < b.fill()
	}
	return at < bAt
}

// PickWeighted keeps the bytes that paths were lately given in the ratio of their
// weights.
func PickWeighted(cs []Candidate, set uint64) int {
	best := NoSubflow
	var least float64
	for i := range cs {
		c := &cs[i]
		if set&(1<<i) == 0 || !c.Bulk || c.Room <= 0 {
			continue
		}
		if share := c.Share / float64(max(c.Weight, 1)); best == NoSubflow || share < least {
			best, least = i, share
		}
	}
	return best
}

// inTurn is how much later than the best another subflow of the same path
// may be and still take its turn.
const inTurn = 2e6

// PickSmall chooses the subflow where n bytes of a small flow arrive first.
// turn rotates among the equally good ones, so that one stalled subflow meets
// few packets of a flow. A suspect subflow is taken when the others are later
// by more than it may hold a packet up: what stalls goes again elsewhere.
func PickSmall(cs []Candidate, set uint64, n int, turn uint32) int {
	best := NoSubflow
	var bestAt int64
	for i := range cs {
		c := &cs[i]
		if set&(1<<i) == 0 || c.Room <= 0 {
			continue
		}
		at := c.smallArrival(n)
		if c.Suspect {
			at += c.Doubt
		}
		if best == NoSubflow || at < bestAt {
			best, bestAt = i, at
		}
	}
	if best == NoSubflow {
		return best
	}
	equal := peers(cs, set, n, best)
	for range turn % uint32(bits.OnesCount64(equal)) {
		equal &= equal - 1
	}
	return bits.TrailingZeros64(equal)
}

// soonOwn is how many bytes, its own, a subflow may have on their way and still be free
// in a moment although it takes nothing just now: somebody is writing to it.
const soonOwn = 4096

// taken is how long, in ns, a subflow that takes nothing just now may go on so.
func (c *Candidate) taken() int64 {
	switch {
	case c.Own < soonOwn:
		return 0
	case c.Rate <= 0:
		return math.MaxInt64 / 2
	}
	return int64(float64(c.Own) / c.Rate)
}

// Soon says that a small flow's packet should wait for a subflow that takes nothing
// just now, rather than go by the chosen one: it would be there sooner by more than a
// turn, all of a slow path's queue perhaps. Who writes to that subflow looks at the queue
// again when done.
func Soon(cs []Candidate, set uint64, n, chosen int) bool {
	at := cs[chosen].smallArrival(n)
	for i := range cs {
		c := &cs[i]
		if set&(1<<i) != 0 && c.Room <= 0 && !c.Suspect && !c.Stale && c.smallArrival(n)+c.taken()+inTurn < at {
			return true
		}
	}
	return false
}

// Settled returns the subflow that a small flow is on, at, as long as that is about
// as good as best: what goes by one subflow stays in order, and one subflow gets
// batches where each of several would get a packet. A subflow that may be stalled,
// or full, is left, as is one of a path that is farther now.
func Settled(cs []Candidate, set uint64, n, best, at int) int {
	if at == NoSubflow || at == best || set&(1<<at) == 0 {
		return best
	}
	c, b := &cs[at], &cs[best]
	if c.Room <= 0 || c.Suspect && !b.Suspect || c.smallArrival(n) > b.smallArrival(n)+inTurn {
		return best
	}
	return at
}

// peers returns the subflows of best's path that are about as good.
func peers(cs []Candidate, set uint64, n int, best int) (equal uint64) {
	b := &cs[best]
	latest := b.smallArrival(n) + inTurn
	for i := range cs {
		c := &cs[i]
		if set&(1<<i) == 0 || c.Room <= 0 || (c.Suspect && !b.Suspect) || c.Path != b.Path {
			continue
		}
		if c.smallArrival(n) <= latest {
			equal |= 1 << i
		}
	}
	return equal
}

// PickCopy chooses where a copy goes, given the subflows that already carry
// the packet: on another path, or, when same is set, on another subflow of a
// path that has one. It returns NoSubflow when no copy would help.
func PickCopy(cs []Candidate, set, carried uint64, n int, turn uint32, same bool) int {
	var paths uint64
	for i := range cs {
		if carried&(1<<i) != 0 {
			paths |= 1 << cs[i].Path
		}
	}
	var fit uint64
	for i := range cs {
		c := &cs[i]
		if set&(1<<i) == 0 || carried&(1<<i) != 0 || c.Suspect || c.Stale {
			continue
		}
		if (paths&(1<<c.Path) != 0) == same {
			fit |= 1 << i
		}
	}
	if fit == 0 {
		return NoSubflow
	}
	return PickSmall(cs, fit, n, turn)
}
