package fq

import (
	"github.com/mpsocks/mpsocks/mux/buf"
)

// The one queue of a session: FQ-CoDel (RFC 8290) with an exact queue per
// flow, in bands served in order; flows that want order have one beside the
// other large ones, as they wait for other subflows. Packets are dropped here or nowhere:
// what leaves it gets a DSN and is delivered. All of it is guarded by the
// session's lock and takes the time as an argument.

const (
	Quantum = 1514 // bytes a flow may send a round (RFC 8290, Section 5.2.2)

	// The queue of all flows together: 4 MiB is 300 ms at 100 Mbit/s. A packet
	// counts no less than chargeLeast: its buffer is larger yet.
	queueBytes  = 4 << 20
	chargeLeast = 512
)

// Drops before a DSN, by reason.
type DropReason uint8

const (
	DropCoDel    DropReason = iota // queue management (RFC 8289)
	DropStale                      // waited longer than maxAge
	DropOverflow                   // the queue's bytes were used up
	DropRenewed                    // the peer forgot the session
	DropInvalid                    // not an IP packet of ours
	dropReasons
)

var DropNames = [dropReasons]string{"codel", "stale", "overflow", "renewed", "invalid"}

// A flowList is a list of the flows of a band.
type flowList struct{ head, tail *Flow }

func (l *flowList) push(f *Flow) {
	f.prev, f.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = f
	} else {
		l.head = f
	}
	l.tail = f
}

func (l *flowList) remove(f *Flow) {
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
	Active     int      // flows on the lists
	served     float64  // bytes that each of them has got, see Least
}

func (b *band) Empty() bool { return b.fresh.head == nil && b.old.head == nil }

// backlog estimates the bytes waiting; a stream is pulled, so its own buffer
// is not known here and stands for a good deal.
func (b *band) backlog() int { return b.bytes + b.streams*StreamBacklog }

// StreamBacklog stands for what a stream has to send.
const StreamBacklog = 256 << 10

// Backlog is what waits for bulk subflows, in all.
func (q *Queue) Backlog() int {
	n := 0
	for i := range q.Bands {
		if t := kinds[i].Turn; t == TurnLarge || t == TurnLast {
			n += q.Bands[i].backlog()
		}
	}
	return n
}

type Queue struct {
	Bands  [Classes]band
	Bytes  int
	Held   int // memory of all that waits, of which small packets leave much unused
	Grace  bool
	Barred bool  // no flow of ClassChosen has a path now: they do not count as waiting
	Target int64 // CoDel target, ns: CoDelTarget plus what the paths' spread needs
	Drops  [dropReasons]uint64
}

// Push appends one packet to its flow; it owns p.
func (q *Queue) Push(f *Flow, p *buf.Buffer, now int64) {
	n := p.Len()
	if !q.shed(charge(n)) {
		q.drop(f, p, DropOverflow)
		return
	}
	p.Stamp, p.Next = now, nil
	if f.tail != nil {
		f.tail.Next = p
	} else {
		f.head = p
	}
	f.tail = p
	f.Bytes += n
	q.Bytes += charge(n)
	q.Held += p.Held()
	b := &q.Bands[f.Band]
	b.bytes += n
	q.Activate(f)
}

// Activate puts a flow that has something to send on its band's list.
func (q *Queue) Activate(f *Flow) {
	if f.where != whereNone {
		return
	}
	b := &q.Bands[f.Band]
	if b.Active++; b.Active == 1 { // what it did not want before is gone
		for i := range q.Bands {
			if LargeBands&(1<<i) != 0 {
				b.served = max(b.served, q.Bands[i].served)
			}
		}
	}
	f.deficit = Quantum
	f.where = whereFresh
	b.fresh.push(f)
	if f.Stream != nil {
		b.streams++
	}
}

func (q *Queue) deactivate(f *Flow) {
	b := &q.Bands[f.Band]
	switch f.where {
	case whereFresh:
		b.fresh.remove(f)
	case whereOld:
		b.old.remove(f)
	default:
		return
	}
	f.where = whereNone
	b.Active--
	if f.Stream != nil {
		b.streams--
	}
}

// NoBand is no class.
const NoBand = Classes

// Least says whose turn it is of bands that are served side by side, NoBand =
// nobody's: every flow is to get the same.
func (q *Queue) Least(of BandSet) Class {
	best := NoBand
	for i := range NoBand {
		if of&(1<<i) != 0 && !q.Bands[i].Empty() && (best == NoBand || q.Bands[i].served < q.Bands[best].served) {
			best = i
		}
	}
	return best
}

// Idle says that nothing waits.
func (q *Queue) Idle() bool {
	for i := range q.Bands {
		if !q.Bands[i].Empty() && (Class(i) != ClassChosen || !q.Barred) {
			return false
		}
	}
	return true
}

// First returns the flow that Pop looks at first.
func (b *band) First() *Flow {
	if b.fresh.head != nil {
		return b.fresh.head
	}
	return b.old.head
}

// SetBand moves a flow, with what it holds, to another band.
func (q *Queue) SetBand(f *Flow, to Class) {
	if f.Band == to {
		return
	}
	active := f.where != whereNone
	q.deactivate(f)
	q.Bands[f.Band].bytes -= f.Bytes
	f.Band = to
	q.Bands[to].bytes += f.Bytes
	if active {
		q.Activate(f)
	}
}

// Pop takes the next packet of a band, or nil. max bounds a stream's segment.
func (q *Queue) Pop(band Class, now int64, maxSegment int) (*Flow, *buf.Buffer) {
	b := &q.Bands[band]
	for {
		f, fresh := b.fresh.head, true
		if f == nil {
			f, fresh = b.old.head, false
		}
		if f == nil {
			return nil, nil
		}
		if f.deficit <= 0 {
			f.deficit += Quantum
			q.rotate(b, f, fresh)
			continue
		}
		var p *buf.Buffer
		if f.Stream != nil {
			p = f.Stream.Next(maxSegment)
		} else {
			p = q.codel(f, now)
		}
		if p == nil {
			// A new flow that ran dry makes one round as an old one, so that
			// it cannot win by pausing (RFC 8290, Section 4.2). A stream has
			// nothing to win: its wake comes again.
			if fresh && f.Stream == nil && b.old.head != nil {
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

func (q *Queue) rotate(b *band, f *Flow, fresh bool) {
	if fresh {
		b.fresh.remove(f)
	} else {
		b.old.remove(f)
	}
	f.where = whereOld
	b.old.push(f)
}

// take removes the first packet of a flow.
func (q *Queue) take(f *Flow) *buf.Buffer {
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
	f.Bytes -= n
	q.Bytes -= charge(n)
	q.Held -= p.Held()
	q.Bands[f.Band].bytes -= n
	return p
}

func (q *Queue) drop(f *Flow, p *buf.Buffer, why DropReason) {
	q.Drops[why]++
	f.Dropped++
	p.Release()
}

// shed makes room for n bytes at the cost of the flow that holds the most,
// oldest first (RFC 8290, Section 4.1). It looks at a bounded number of flows, and
// reports whether it found something to drop.
func (q *Queue) shed(n int) bool {
	for q.Bytes+n > queueBytes {
		var fat *Flow
		for i := range q.Bands {
			seen := 0
			for _, l := range [2]*flowList{&q.Bands[i].fresh, &q.Bands[i].old} {
				for f := l.head; f != nil && seen < 256; f, seen = f.next, seen+1 {
					if fat == nil || f.Bytes > fat.Bytes {
						fat = f
					}
				}
			}
		}
		if fat == nil || fat.head == nil {
			return false // streams, which hold nothing here
		}
		for range 64 {
			p := q.take(fat)
			if p == nil {
				break
			}
			q.drop(fat, p, DropOverflow)
		}
	}
	return true
}

func charge(n int) int { return max(n, chargeLeast) }

// Clear drops everything a flow holds.
func (q *Queue) Clear(f *Flow, why DropReason) {
	for p := q.take(f); p != nil; p = q.take(f) {
		q.drop(f, p, why)
	}
	q.deactivate(f)
}

// Serve counts n bytes of a band with that many flows, see Least.
func (q *Queue) Serve(band Class, flows, n int) {
	q.Bands[band].served += float64(n) / float64(max(flows, 1))
}

// Waited returns how long the first packet has been waiting, and of a stream how long it
// has had something to send without a pause.
func (f *Flow) Waited(now int64) int64 {
	switch {
	case f.Stream != nil:
		return now - f.Since
	case f.head == nil:
		return 0
	}
	return now - f.head.Stamp
}
