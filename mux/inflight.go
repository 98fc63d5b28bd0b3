package mux

import "github.com/mpsocks/mpsocks/mux/buf"

const (
	// sendWindow bounds the bytes that have a DSN and no Data ACK: 32 MiB is
	// 100 Mbit/s over 2.5 s. The receiver accepts twice that.
	sendWindow    = 32 << 20
	receiveWindow = 2 * sendWindow
	// sendSegments bounds their number as well: small packets cost their buffers,
	// and the receiver an entry each.
	sendSegments = 65536
)

// A segment is one packet with its mapping. The mapping never changes; the
// packet is kept until the Data ACK, because any subflow may still have to
// carry it again.
type segment struct {
	p    *buf.Buffer
	dsn  uint64
	n    int32
	pins int8   // subflows that hold p in a batch they are writing or will write
	on   uint64 // bit set of the subflow slots that carry it
}

// inflight holds the segments without Data ACK, in DSN order, numbered from
// the first one of the session (segment number, "sn"). Guarded by the
// session's lock.
type inflight struct {
	ring       []segment // power of two long
	head, tail uint64    // segment numbers
	next       uint64    // DSN of the next segment
	acked      uint64    // all below is acknowledged
	bytes      int
}

func (q *inflight) at(sn uint64) *segment { return &q.ring[sn&uint64(len(q.ring)-1)] }

func (q *inflight) full() bool { return q.bytes >= sendWindow || q.tail-q.head >= sendSegments }

// push gives p the next DSN and returns its segment number.
func (q *inflight) push(p *buf.Buffer) uint64 {
	if q.tail-q.head == uint64(len(q.ring)) {
		q.grow()
	}
	n := p.Len()
	sn := q.tail
	*q.at(sn) = segment{p: p, dsn: q.next, n: int32(n)}
	q.tail++
	q.next += uint64(n)
	q.bytes += n
	return sn
}

func (q *inflight) grow() {
	old := q.ring
	q.ring = make([]segment, max(256, 2*len(old)))
	for sn := q.head; sn < q.tail; sn++ {
		*q.at(sn) = old[sn&uint64(len(old)-1)]
	}
}

// ack applies a cumulative Data ACK (RFC 8684, Section 3.3.2) and reports
// whether it was news. One beyond what was sent is ignored.
func (q *inflight) ack(dsn uint64) bool {
	if int64(dsn-q.next) > 0 || int64(dsn-q.acked) <= 0 {
		return false
	}
	q.acked = dsn
	q.free()
	return true
}

// free releases acknowledged segments that no batch holds.
func (q *inflight) free() {
	for q.head < q.tail {
		s := q.at(q.head)
		if s.pins > 0 || int64(s.dsn+uint64(s.n)-q.acked) > 0 {
			return
		}
		s.p.Release()
		s.p = nil
		q.bytes -= int(s.n)
		q.head++
	}
	if len(q.ring) > 4096 { // empty: a burst must not own memory for ever
		q.ring = nil
	}
}

// unpin ends the hold of one batch on a segment. It may have been acknowledged
// meanwhile, and no other acknowledgement may come.
func (q *inflight) unpin(sn uint64) {
	if q.at(sn).pins--; sn == q.head {
		q.free()
	}
}

// live returns the segment if the peer may still need it.
func (q *inflight) live(sn uint64) *segment {
	if sn < q.head || sn >= q.tail {
		return nil
	}
	s := q.at(sn)
	if int64(s.dsn+uint64(s.n)-q.acked) <= 0 {
		return nil
	}
	return s
}

// reset forgets everything; the session was renewed.
func (q *inflight) reset(first uint64) {
	for sn := q.head; sn < q.tail; sn++ {
		if s := q.at(sn); s.pins == 0 {
			s.p.Release()
		} // else the writer that still reads it leaves it to the collector
	}
	*q = inflight{next: first, acked: first}
}
