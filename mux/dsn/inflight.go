package dsn

import "github.com/mpsocks/mpsocks/mux/buf"

const (
	// SendWindow bounds the bytes that have a DSN and no Data ACK: 32 MiB is
	// 100 Mbit/s over 2.5 s. The receiver accepts twice that, ReceiveWindow, so that no
	// sender with a larger window is refused.
	SendWindow    = 32 << 20
	ReceiveWindow = 2 * SendWindow
	// SendSegments bounds their number as well: small packets cost their buffers,
	// and the receiver an entry each.
	SendSegments = 65536
	// segmentMemory is what a Segment takes.
	segmentMemory = 40
	// HoldWindow bounds the memory of their buffers: as many small ones.
	HoldWindow = SendSegments * 2048
)

// A Segment is one packet with its mapping. The mapping never changes; the
// packet is kept until the Data ACK, because any subflow may still have to
// carry it again.
type Segment struct {
	P     *buf.Buffer
	DSN   uint64
	N     int32
	Seen  bool   // some batch has carried it
	Again bool   // it waits to go again
	Paths uint16 // those that its flow is for, by the scheduler's index, a bit each; 0 = all
	Pins  int8   // subflows that hold p in a batch they are writing or will write
	On    uint64 // bit set of the subflow slots that carry it
}

// InFlight holds the segments without Data ACK, in DSN order, numbered from
// the first one of the session (segment number, "sn"). Guarded by the
// session's lock.
type InFlight struct {
	ring       []Segment // power of two long
	Head, Tail uint64    // segment numbers
	next       uint64    // DSN of the next segment
	acked      uint64    // all below is acknowledged
	Bytes      int
	Held       int    // bytes of memory that the segments' buffers are
	turn       int64  // when this MSL began,
	since      uint64 // with which DSN,
	before     uint64 // and the one before with which
	Most       int    // what Held may be before no more is taken; 0 = HoldWindow
}

// List is how many bytes of memory the list of the segments is.
func (q *InFlight) List() int { return len(q.ring) * segmentMemory }

func (q *InFlight) At(sn uint64) *Segment { return &q.ring[sn&uint64(len(q.ring)-1)] }

// Full says that no more may be pushed for now.
func (q *InFlight) Full() bool {
	most := q.Most
	if most <= 0 || most > HoldWindow {
		most = HoldWindow
	}
	return q.Bytes >= SendWindow || q.Held >= most || q.Tail-q.Head >= SendSegments
}

const (
	// msl is the Maximum Segment Lifetime of RFC 7323, Section 5.1, in ns.
	msl = 120e9
	// wrapBytes within it leave no doubt which DSN a lower half belongs to.
	wrapBytes = 1 << 31
)

// Pass lets time pass: what was sent before the last MSL is not under way any more.
func (q *InFlight) Pass(now int64) {
	switch {
	case q.turn == 0:
		q.turn, q.since, q.before = now, q.next, q.next
	case now-q.turn > msl:
		q.turn, q.since, q.before = now, q.next, q.since
	}
}

// Wraps says that the lower half of a DSN may come again within an MSL, so that it has to be
// sent in full (RFC 8684, Section 3.3.1).
func (q *InFlight) Wraps() bool { return q.next-q.before >= wrapBytes }

// Push gives p the next DSN and returns its segment number.
func (q *InFlight) Push(p *buf.Buffer) uint64 {
	if q.Tail-q.Head == uint64(len(q.ring)) {
		q.grow()
	}
	n := p.Len()
	sn := q.Tail
	*q.At(sn) = Segment{P: p, DSN: q.next, N: int32(n)}
	q.Tail++
	q.next += uint64(n)
	q.Bytes += n
	q.Held += p.Held()
	return sn
}

func (q *InFlight) grow() {
	old := q.ring
	q.ring = make([]Segment, max(256, 2*len(old)))
	for sn := q.Head; sn < q.Tail; sn++ {
		*q.At(sn) = old[sn&uint64(len(old)-1)]
	}
}

// Ack applies a cumulative Data ACK (RFC 8684, Section 3.3.2) and reports
// whether it was news. One beyond what was sent is ignored.
func (q *InFlight) Ack(dsn uint64) bool {
	if int64(dsn-q.next) > 0 || int64(dsn-q.acked) <= 0 {
		return false
	}
	q.acked = dsn
	q.free()
	return true
}

// free releases acknowledged segments that no batch holds.
func (q *InFlight) free() {
	for q.Head < q.Tail {
		s := q.At(q.Head)
		if s.Pins > 0 || int64(s.DSN+uint64(s.N)-q.acked) > 0 {
			return
		}
		q.Held -= s.P.Held()
		s.P.Release()
		s.P = nil
		q.Bytes -= int(s.N)
		q.Head++
	}
	if len(q.ring) > 4096 { // empty: a burst must not own memory for ever
		q.ring = nil
	}
}

// Unpin ends the hold of one batch on a segment. It may have been acknowledged
// meanwhile, and no other acknowledgement may come.
func (q *InFlight) Unpin(sn uint64) {
	if q.At(sn).Pins--; sn == q.Head {
		q.free()
	}
}

// Live returns the segment if the peer may still need it.
func (q *InFlight) Live(sn uint64) *Segment {
	if sn < q.Head || sn >= q.Tail {
		return nil
	}
	s := q.At(sn)
	if int64(s.DSN+uint64(s.N)-q.acked) <= 0 {
		return nil
	}
	return s
}

// Fin takes one DSN for DATA_FIN (RFC 8684, Section 3.3.3), behind all that was sent.
func (q *InFlight) Fin() (at uint64) {
	at = q.next
	q.next++
	return at
}

// Reset forgets everything; the session was renewed.
func (q *InFlight) Reset(first uint64) {
	for sn := q.Head; sn < q.Tail; sn++ {
		if s := q.At(sn); s.Pins == 0 {
			s.P.Release()
		} // else the writer that still reads it leaves it to the collector
	}
	*q = InFlight{next: first, acked: first}
}
