package mux

import (
	"math"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// The one queue of a session: FQ-CoDel (RFC 8290) with an exact queue per
// flow, in bands served in order; flows that want order have one beside the
// other large ones, as they wait for other subflows. Packets are dropped here or nowhere:
// what leaves it gets a DSN and is delivered. All of it is guarded by the
// session's lock and takes the time as an argument.

const (
	quantum = 1514 // bytes a flow may send a round (RFC 8290, Section 5.2.2)

	// RFC 8289, Section 4.4 says 5 ms for a queue that drains packet by packet;
	// this one drains in bursts into several paced connections.
	codelTarget   = 15e6  // ns
	codelInterval = 100e6 // ns, Section 4.3

	// A sender that does not slow down gets a queue as a good router's: this
	// much beyond the CoDel target, and what is older goes. Small flows are let
	// wait longer; and all are, and nothing is dropped for standing, while paths
	// die and come back, as the tunnel then is what holds them up.
	maxAge      = 80e6
	maxAgeSmall = 250e6
	maxAgeGrace = 1e9
	graceTime   = 1500e6

	// The queue of all flows together: 4 MiB is 300 ms at 100 Mbit/s.
	queueBytes = 4 << 20
)

const (
	bandLatency = iota
	bandNormal
	bandOrdered // served side by side with bandNormal
	bandBackup
	bands
)

func bandOf(c Class) int {
	switch c {
	case ClassLatency:
		return bandLatency
	case ClassOrdered:
		return bandOrdered
	case ClassBackup:
		return bandBackup
	}
	return bandNormal
}

// Drops before a DSN, by reason.
type dropReason uint8

const (
	dropCodel    dropReason = iota // queue management (RFC 8289)
	dropStale                      // waited longer than maxAge
	dropOverflow                   // the queue's bytes were used up
	dropRenewed                    // the peer forgot the session
	dropInvalid                    // not an IP packet of ours
	dropReasons
)

var dropNames = [dropReasons]string{"codel", "stale", "overflow", "renewed", "invalid"}

type flowList struct{ head, tail *flow }

func (l *flowList) push(f *flow) {
	f.prev, f.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = f
	} else {
		l.head = f
	}
	l.tail = f
}

func (l *flowList) remove(f *flow) {
	if f.prev != nil {
		f.prev.next = f.next
	} else {
		l.head = f.next
	}
	if f.next != nil {
		f.next.prev = f.prev
	} else {
		l.tail = f.prev
	}
	f.prev, f.next = nil, nil
}

type band struct {
	fresh, old flowList // RFC 8290, Section 4.2: new flows first
	bytes      int      // waiting in datagram flows
	streams    int      // stream flows that are active
	active     int      // flows on the lists
	served     float64  // bytes that each of them has got, see before
}

func (b *band) empty() bool { return b.fresh.head == nil && b.old.head == nil }

// backlog estimates the bytes waiting; a stream is pulled, so its own buffer
// is not known here and stands for a good deal.
func (b *band) backlog() int { return b.bytes + b.streams*(256<<10) }

// backlog is what waits for bulk subflows, in all.
func (q *queue) backlog() int {
	return q.bands[bandNormal].backlog() + q.bands[bandOrdered].backlog() + q.bands[bandBackup].backlog()
}

type queue struct {
	bands  [bands]band
	bytes  int
	grace  bool
	target int64 // CoDel target, ns: codelTarget plus what the paths' spread needs
	drops  [dropReasons]uint64
}

// push appends one packet to its flow; it owns p.
func (q *queue) push(f *flow, p *buf.Buffer, now int64) {
	n := p.Len()
	if q.bytes+n > queueBytes {
		q.shed(n)
	}
	p.Stamp, p.Next = now, nil
	if f.tail != nil {
		f.tail.Next = p
	} else {
		f.head = p
	}
	f.tail = p
	f.bytes += n
	q.bytes += n
	b := &q.bands[f.band]
	b.bytes += n
	q.activate(f)
}

// activate puts a flow that has something to send on its band's list.
func (q *queue) activate(f *flow) {
	if f.where != whereNone {
		return
	}
	b := &q.bands[f.band]
	if b.active++; b.active == 1 { // what it did not want before is gone
		b.served = max(b.served, q.bands[bandNormal].served, q.bands[bandOrdered].served)
	}
	f.deficit = quantum
	f.where = whereFresh
	b.fresh.push(f)
	if f.stream != nil {
		b.streams++
	}
}

func (q *queue) deactivate(f *flow) {
	b := &q.bands[f.band]
	switch f.where {
	case whereFresh:
		b.fresh.remove(f)
	case whereOld:
		b.old.remove(f)
	default:
		return
	}
	f.where = whereNone
	b.active--
	if f.stream != nil {
		b.streams--
	}
}

// before says whose turn it is of two bands that are served side by side: every
// flow is to get the same.
func (q *queue) before(a, b int) bool { return q.bands[a].served <= q.bands[b].served }

// head returns the flow that pop looks at first.
func (b *band) head() *flow {
	if b.fresh.head != nil {
		return b.fresh.head
	}
	return b.old.head
}

// setBand moves a flow, with what it holds, to another band.
func (q *queue) setBand(f *flow, to int) {
	if f.band == to {
		return
	}
	active := f.where != whereNone
	q.deactivate(f)
	q.bands[f.band].bytes -= f.bytes
	f.band = to
	q.bands[to].bytes += f.bytes
	if active {
		q.activate(f)
	}
}

// pop takes the next packet of a band, or nil. max bounds a stream's segment.
func (q *queue) pop(band int, now int64, maxSegment int) (*flow, *buf.Buffer) {
	b := &q.bands[band]
	for {
		f, fresh := b.fresh.head, true
		if f == nil {
			f, fresh = b.old.head, false
		}
		if f == nil {
			return nil, nil
		}
		if f.deficit <= 0 {
			f.deficit += quantum
			q.rotate(b, f, fresh)
			continue
		}
		var p *buf.Buffer
		if f.stream != nil {
			p = f.stream.next(maxSegment)
		} else {
			p = q.codel(f, now)
		}
		if p == nil {
			// A new flow that ran dry makes one round as an old one, so that
			// it cannot win by pausing (RFC 8290, Section 4.2). A stream has
			// nothing to win: its wake comes again.
			if fresh && f.stream == nil && b.old.head != nil {
				q.rotate(b, f, fresh)
			} else {
				q.deactivate(f)
			}
			continue
		}
		f.deficit -= p.Len()
		return f, p
	}
}

func (q *queue) rotate(b *band, f *flow, fresh bool) {
	if fresh {
		b.fresh.remove(f)
	} else {
		b.old.remove(f)
	}
	f.where = whereOld
	b.old.push(f)
}

// take removes the first packet of a flow.
func (q *queue) take(f *flow) *buf.Buffer {
	p := f.head
	if p == nil {
		return nil
	}
	f.head = p.Next
	if f.head == nil {
		f.tail = nil
	}
	p.Next = nil
	n := p.Len()
	f.bytes -= n
	q.bytes -= n
	q.bands[f.band].bytes -= n
	return p
}

func (q *queue) drop(f *flow, p *buf.Buffer, why dropReason) {
	q.drops[why]++
	f.dropped++
	p.Release()
}

// A codel is the state of RFC 8289, Section 5.
type codel struct {
	firstAbove, dropNext int64
	count, lastCount     uint32
	dropping             bool
}

// codel dequeues as RFC 8289, Section 5.2.
func (q *queue) codel(f *flow, now int64) *buf.Buffer {
	c := &f.codel
	p, above := q.sojourn(f, now)
	if c.dropping {
		if !above {
			c.dropping = false
		}
		for c.dropping && now >= c.dropNext && p != nil {
			q.drop(f, p, dropCodel)
			c.count++
			p, above = q.sojourn(f, now)
			if !above {
				c.dropping = false
			} else {
				c.dropNext += control(c.count)
			}
		}
	} else if above {
		q.drop(f, p, dropCodel)
		p, _ = q.sojourn(f, now)
		c.dropping = true
		if delta := c.count - c.lastCount; delta > 1 && now-c.dropNext < 16*codelInterval {
			c.count = delta
		} else {
			c.count = 1
		}
		c.dropNext = now + control(c.count)
		c.lastCount = c.count
	}
	return p
}

// sojourn takes the next packet and tells whether the queue stood above the
// target for a whole interval.
func (q *queue) sojourn(f *flow, now int64) (p *buf.Buffer, above bool) {
	c := &f.codel
	for {
		if p = q.take(f); p == nil {
			c.firstAbove = 0
			return nil, false
		}
		wait := now - p.Stamp
		if wait > q.oldest(f) {
			q.drop(f, p, dropStale)
			continue
		}
		if wait < q.target || f.bytes < quantum || q.grace {
			c.firstAbove = 0
			return p, false
		}
		if c.firstAbove == 0 {
			c.firstAbove = now + codelInterval
			return p, false
		}
		return p, now >= c.firstAbove
	}
}

// oldest returns how long a packet of the flow may wait.
func (q *queue) oldest(f *flow) int64 {
	switch {
	case q.grace:
		return maxAgeGrace
	case f.band == bandLatency:
		return maxAgeSmall + q.target
	}
	return maxAge + q.target
}

func control(count uint32) int64 {
	return int64(codelInterval / math.Sqrt(float64(count)))
}

// shed makes room for n bytes at the cost of the flow that holds the most,
// oldest first (RFC 8290, Section 4.1). It looks at a bounded number of flows.
func (q *queue) shed(n int) {
	for q.bytes+n > queueBytes {
		var fat *flow
		for i := range q.bands {
			seen := 0
			for _, l := range [2]*flowList{&q.bands[i].fresh, &q.bands[i].old} {
				for f := l.head; f != nil && seen < 256; f, seen = f.next, seen+1 {
					if fat == nil || f.bytes > fat.bytes {
						fat = f
					}
				}
			}
		}
		if fat == nil || fat.head == nil {
			return
		}
		for range 64 {
			p := q.take(fat)
			if p == nil {
				break
			}
			q.drop(fat, p, dropOverflow)
		}
	}
}

// clear drops everything a flow holds.
func (q *queue) clear(f *flow, why dropReason) {
	for p := q.take(f); p != nil; p = q.take(f) {
		q.drop(f, p, why)
	}
	q.deactivate(f)
}

// waited returns how long the first packet has been waiting; 0 for a stream.
func (f *flow) waited(now int64) int64 {
	if f.head == nil {
		return 0
	}
	return now - f.head.Stamp
}
