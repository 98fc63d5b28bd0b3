package netlab

import (
	"math"
	"math/rand/v2"
	"time"
)

// never is the due time of an empty pipe.
const never = math.MaxInt64

// parcel is a packet inside a pipe. The buffer belongs to the pipe until pop hands it back.
type parcel struct {
	buf    []byte // whole slot
	n      int    // bytes of it that are the packet
	depart int64  // when its last bit has left the queue, ns
	delay  int64  // its own delay on the line, jitter included, ns
	due    int64  // when it comes out: depart + delay, never before the one in front unless reordering is asked for
}

// pipe is the model of one direction: queue, link, delay line. It does no I/O and takes the time as an argument
// (nanoseconds on any monotonic clock), so it runs as well in virtual time. Owned by one goroutine.
type pipe struct {
	link Link
	rng  *rand.Rand

	ring     []parcel // power of two; live entries are ring[head&mask .. (head+count)&mask)
	head     int
	count    int
	departed int64 // when the link is free again
	last     int64 // due time of the newest entry

	bad bool // state of the burst model

	// The jitter is a line from (start, from) to (end, to); a new leg begins where the old one ends.
	jitterStart, jitterEnd int64
	jitterFrom, jitterTo   float64

	stats LinkStats
	late  []uint32 // histogram of lateness, see lateCell
}

// The histogram of lateness has a cell per microsecond up to a millisecond, and one per 100 µs up to 100 ms; the last
// one is for all beyond, when the run is spoiled anyway.
const (
	fineCells   = 1000
	coarseCells = 990
)

// lateCell is the cell of a lateness in nanoseconds.
func lateCell(ns int64) int64 {
	if us := ns / 1000; us < fineCells {
		return us
	}
	return min(fineCells+(ns-1e6)/100_000, fineCells+coarseCells)
}

// cellTime is the lateness that a cell stands for: its lower end.
func cellTime(i int) time.Duration {
	if i < fineCells {
		return time.Duration(i) * time.Microsecond
	}
	return time.Millisecond + time.Duration(i-fineCells)*100*time.Microsecond
}

func newPipe(l Link, seed uint64) *pipe {
	return &pipe{
		link: l, rng: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15)),
		ring: make([]parcel, 1024), late: make([]uint32, fineCells+coarseCells+1),
	}
}

// push offers a packet of n bytes at time now. It returns false when the packet is dropped: the buffer then stays
// the caller's.
func (p *pipe) push(now int64, buf []byte, n int) bool {
	p.stats.Packets++
	p.stats.Bytes += uint64(n)
	if p.link.BlackHole {
		p.stats.Swallowed++
		return false
	}
	wait := max(p.departed-now, 0)
	if p.overflows(wait, n) {
		p.stats.Overflow++
		return false
	}
	p.stats.QueueMax = max(p.stats.QueueMax, time.Duration(wait))
	p.departed = now + wait + p.transmit(n)
	if p.loses() {
		p.stats.Lost++
		return false
	}
	e := parcel{buf: buf, n: n, depart: p.departed, delay: p.delay(p.departed)}
	e.due = e.depart + e.delay
	p.insert(e)
	return true
}

// transmit is the time that n bytes take on the link.
func (p *pipe) transmit(n int) int64 {
	if p.link.Rate == 0 {
		return 0
	}
	return int64(n) * 8 * 1e9 / int64(p.link.Rate)
}

// overflows says whether a packet of n bytes, which would wait so long, finds the queue full.
func (p *pipe) overflows(wait int64, n int) bool {
	l := &p.link
	switch {
	case l.Rate == 0 || wait == 0:
		return false
	case l.QueueBytes > 0 && float64(wait)*float64(l.Rate)/8e9+float64(n) > float64(l.QueueBytes):
		return true
	case l.QueueTime > 0:
		return wait > int64(l.QueueTime)
	}
	return l.QueueBytes == 0 && wait > int64(DefaultQueue)
}

// loses draws the fate of one packet.
func (p *pipe) loses() bool {
	l := &p.link
	lost := l.Loss > 0 && p.rng.Float64() < l.Loss
	if l.Burst.Enter > 0 {
		turn := l.Burst.Enter
		if p.bad {
			turn = l.Burst.Leave
		}
		if p.rng.Float64() < turn {
			p.bad = !p.bad
		}
		lost = lost || p.bad && p.rng.Float64() < l.Burst.Loss
	}
	return lost
}

// delay is the time on the line of a packet that leaves the queue at t.
func (p *pipe) delay(t int64) int64 {
	j := float64(p.link.Jitter)
	if j == 0 {
		return int64(p.link.Delay)
	}
	if p.link.Reorder {
		return int64(p.link.Delay) + int64((p.rng.Float64()*2-1)*j)
	}
	// A leg takes at least four times the jitter: the delay then never falls faster than time passes, so nothing overtakes,
	// and packets bunch and spread by at most one half.
	leg := int64(max(4*p.link.Jitter, 20*time.Millisecond))
	if t >= p.jitterEnd {
		start := p.jitterEnd
		if t-start > leg {
			start = t // idle for long: no history worth keeping
		}
		p.jitterStart, p.jitterEnd = start, start+leg
		p.jitterFrom, p.jitterTo = p.jitterTo, p.rng.Float64()*2-1
	}
	at := float64(t-p.jitterStart) / float64(p.jitterEnd-p.jitterStart)
	return int64(p.link.Delay) + int64(j*(p.jitterFrom+(p.jitterTo-p.jitterFrom)*at))
}

// insert puts the packet in its place by due time: at the end, or further in front when it may overtake.
func (p *pipe) insert(e parcel) {
	if p.count == len(p.ring) {
		p.grow()
	}
	if !p.link.Reorder {
		e.due = max(e.due, p.last)
	}
	mask := len(p.ring) - 1
	i := p.head + p.count
	for ; i > p.head && p.ring[(i-1)&mask].due > e.due; i-- {
		p.ring[i&mask] = p.ring[(i-1)&mask]
	}
	p.ring[i&mask] = e
	p.count++
	p.last = p.ring[(p.head+p.count-1)&mask].due
}

func (p *pipe) grow() {
	ring := make([]parcel, 2*len(p.ring))
	for i := range p.count {
		ring[i] = p.ring[(p.head+i)&(len(p.ring)-1)]
	}
	p.ring, p.head = ring, 0
}

// next is when the first packet is due, or never.
func (p *pipe) next() int64 {
	if p.count == 0 {
		return never
	}
	return p.ring[p.head&(len(p.ring)-1)].due
}

// pop takes the first packet out if it is due. The buffer is the caller's again; deliver is false for one that a
// black hole has swallowed on its way.
func (p *pipe) pop(now int64) (buf []byte, n int, deliver, ok bool) {
	if p.count == 0 {
		return nil, 0, false, false
	}
	e := &p.ring[p.head&(len(p.ring)-1)]
	if e.due > now {
		return nil, 0, false, false
	}
	p.late[lateCell(now-e.due)]++
	p.head++
	p.count--
	buf, n = e.buf, e.n
	e.buf = nil
	if p.link.BlackHole {
		p.stats.Swallowed++
		return buf, n, false, true
	}
	return buf, n, true, true
}

// set changes the link while packets are in it. What still waits in the queue leaves at the new rate; what is on the
// line keeps its delay.
func (p *pipe) set(now int64, l Link) {
	changed := l.Rate != p.link.Rate
	p.link = l
	if l.Burst.Enter == 0 {
		p.bad = false
	}
	if !changed {
		return
	}
	free := now
	mask := len(p.ring) - 1
	p.last = 0
	for i := p.head; i < p.head+p.count; i++ {
		e := &p.ring[i&mask]
		if e.depart > now {
			free += p.transmit(e.n)
			e.depart = free
			e.due = e.depart + e.delay
			if !l.Reorder {
				e.due = max(e.due, p.last)
			}
		}
		p.last = max(p.last, e.due)
	}
	p.departed = free
}

// snapshot is the statistics up to now. The lateness and the longest wait are those since the last snapshot.
func (p *pipe) snapshot() LinkStats {
	s := p.stats
	total := uint64(0)
	for _, n := range p.late {
		total += uint64(n)
	}
	seen := uint64(0)
	for i, n := range p.late {
		before := seen
		seen += uint64(n)
		d := cellTime(i)
		if before <= total/2 && seen > total/2 {
			s.LateP50 = d
		}
		if before <= total*99/100 && seen > total*99/100 {
			s.LateP99 = d
		}
		if n > 0 {
			s.LateMax = d
		}
	}
	clear(p.late)
	p.stats.QueueMax = 0
	return s
}
