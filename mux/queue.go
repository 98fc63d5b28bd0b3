package mux

import (
	"github.com/mpsocks/mpsocks/mux/buf"
)

// The one queue of a session: FQ-CoDel (RFC 8290) with an exact queue per
// flow, in bands served in order; flows that want order have one beside the
// other large ones, as they wait for other subflows. Packets are dropped here or nowhere:
// what leaves it gets a DSN and is delivered. All of it is guarded by the
// session's lock and takes the time as an argument.

const (
	quantum = 1514 // bytes a flow may send a round (RFC 8290, Section 5.2.2)

	// The queue of all flows together: 4 MiB is 300 ms at 100 Mbit/s. A packet
	// counts no less than chargeLeast: its buffer is larger yet.
	queueBytes  = 4 << 20
	chargeLeast = 512
)

const (
	bandLatency = iota
	bandNormal
	bandOrdered // served side by side with bandNormal, as are
	bandMetered // this one
	bandStream  // and this one: streams, which put themselves in order
	bandBackup
	bands
)

// The bands that are served side by side.
var (
	largeBands  = [...]int{bandNormal, bandOrdered, bandMetered, bandStream}
	backupBands = [...]int{bandBackup}
)

func bandOf(c Class) int {
	switch c {
	case ClassLatency:
		return bandLatency
	case ClassOrdered:
		return bandOrdered
	case ClassMetered:
		return bandMetered
	case ClassBackup:
		return bandBackup
	}
	return bandNormal
}

// place is the band of a flow of its class.
func (f *flow) place() int {
	if f.stream != nil && f.class == ClassBulk {
		return bandStream
	}
	return bandOf(f.class)
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
	served     float64  // bytes that each of them has got, see least
}

func (b *band) empty() bool { return b.fresh.head == nil && b.old.head == nil }

// backlog estimates the bytes waiting; a stream is pulled, so its own buffer
// is not known here and stands for a good deal.
func (b *band) backlog() int { return b.bytes + b.streams*(256<<10) }

// backlog is what waits for bulk subflows, in all.
func (q *queue) backlog() int {
	n := 0
	for i := bandNormal; i < bands; i++ {
		n += q.bands[i].backlog()
	}
	return n
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
	if !q.shed(charge(n)) {
		q.drop(f, p, dropOverflow)
		return
	}
	p.Stamp, p.Next = now, nil
	if f.tail != nil {
		f.tail.Next = p
	} else {
		f.head = p
	}
	f.tail = p
	f.bytes += n
	q.bytes += charge(n)
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
		for _, i := range largeBands {
			b.served = max(b.served, q.bands[i].served)
		}
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

// least says whose turn it is of bands that are served side by side, -1 = nobody's:
// every flow is to get the same. but are left out, a bit set.
func (q *queue) least(of []int, but int) int {
	best := -1
	for _, i := range of {
		if but&(1<<i) == 0 && !q.bands[i].empty() && (best < 0 || q.bands[i].served < q.bands[best].served) {
			best = i
		}
	}
	return best
}

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
	q.bytes -= charge(n)
	q.bands[f.band].bytes -= n
	return p
}

func (q *queue) drop(f *flow, p *buf.Buffer, why dropReason) {
	q.drops[why]++
	f.dropped++
	p.Release()
}

// shed makes room for n bytes at the cost of the flow that holds the most,
// oldest first (RFC 8290, Section 4.1). It looks at a bounded number of flows, and
// reports whether it found something to drop.
func (q *queue) shed(n int) bool {
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
			return false // streams, which hold nothing here
		}
		for range 64 {
			p := q.take(fat)
			if p == nil {
				break
			}
			q.drop(fat, p, dropOverflow)
		}
	}
	return true
}

func charge(n int) int { return max(n, chargeLeast) }

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
