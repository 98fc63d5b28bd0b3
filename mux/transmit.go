package mux

import (
	"sync"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// The way out: Send puts packets into the queue, pump gives them DSNs, chooses
// subflows and writes. Whoever calls pump does the work; several goroutines
// may be in it, each writing to another subflow.

const (
	// recordSize is the largest TLS plaintext record (RFC 8446, Section 5.1).
	recordSize = 16384
	// frameHead is the DSS in front of every packet.
	frameHead = 26
	// segmentSize makes a stream segment fill one record.
	segmentSize = recordSize - frameHead
	// burstSize is what a subflow is given at once at most: four records, one
	// kernel write.
	burstSize = 4 * recordSize
	// minLowat lets a slow subflow hold one full record, so that it never
	// idles between two writes.
	minLowat = 16 << 10
	maxLowat = 256 << 10
	// lowatTime is how much unsent data the kernel may hold: long enough for
	// a goroutine to wake, short enough to decide late.
	lowatTime = 4e6
)

var plainPool = sync.Pool{New: func() any { b := make([]byte, 0, burstSize+2*recordSize); return &b }}

// maxPacket is what a mapping can hold (RFC 8684, Section 3.3.1).
const maxPacket = 65535

// An outgoing is one packet of a batch: pinned, so it may be read without the
// session's lock.
type outgoing struct {
	p   *buf.Buffer
	dsn uint64
	sn  uint64
}

// Send takes whole IP packets of one source into the queue and owns them. It
// never blocks; what the queue cannot hold is dropped there. Flush sends.
func (s *Session) Send(src *Source, pkts []*buf.Buffer) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range pkts {
		b := p.Bytes()
		f := s.flowFor(src, b, now)
		if f == nil || s.closed || s.finishing || len(b) > maxPacket {
			s.queue.Drops[fq.DropInvalid]++
			p.Release()
			continue
		}
		var payload []byte
		if f.Packets < 16 {
			payload = packet.UDPPayload(b)
		}
		s.classify(f, len(b), payload, now)
		f.Packets++
		s.queue.Push(f, p, now)
	}
}

// Flush hands queued packets to the subflows.
func (s *Session) Flush() { s.pump() }

// pump sends what can be sent and has the monitor watch it, which would be in
// the way before.
func (s *Session) pump() {
	s.move()
	s.touch()
}

// move assigns and writes until there is nothing that this goroutine can do.
func (s *Session) move() {
	s.mu.Lock()
	for {
		now := s.now()
		s.assign(now)
		f := s.nextWriter()
		if f == nil {
			s.mu.Unlock()
			return
		}
		f.writing = true
		control := f.take()
		s.mu.Unlock()

		blocked, err := f.write(control)

		s.mu.Lock()
		s.wrote(f, s.now(), blocked, err)
	}
}

// nextWriter returns a subflow that has something to write and no writer.
func (s *Session) nextWriter() *subflow {
	for _, f := range s.subs {
		if !f.writing && !f.closed && (len(f.pending) > 0 || len(f.control) > 0) {
			return f
		}
	}
	return nil
}

// take moves what is pending into the batch. The caller has just got the
// write token.
func (f *subflow) take() (control []byte) {
	f.batch = f.batch[:0]
	for _, sn := range f.pending {
		sg := f.s.inflight.At(sn)
		f.batch = append(f.batch, outgoing{p: sg.P, dsn: sg.DSN, sn: sn})
	}
	f.pending, f.pendingSize = f.pending[:0], 0
	control, f.control = f.control, nil
	return control
}

// write frames the batch into records and gives them to the kernel. The
// caller holds the write token and not the session's lock.
func (f *subflow) write(control []byte) (blocked bool, err error) {
	pb := plainPool.Get().(*[]byte)
	plain := append((*pb)[:0], control...)
	if f.capture != nil && len(control) > 0 {
		f.capture.options(true, control)
	}
	if len(f.batch) > 0 {
		f.s.space.pending.Store(0) // before next is read: what comes in between is acknowledged once more
	}
	d := mptcp.DSS{HasAck: true, Ack8: true, HasMap: true, DSN8: true, Ack: f.s.space.next.Load(), HasChecksum: f.s.checksum}
	for i := range f.batch {
		o := &f.batch[i]
		b := o.p.Bytes()
		// A datagram is not split over two records: it could be read only
		// when the second one is there.
		if len(plain) > 0 && len(plain)+frameHead+len(b) > recordSize {
			if _, err := f.conn.Write(plain); err != nil {
				return false, err
			}
			plain = plain[:0]
		}
		d.DSN, d.SSN, d.Length = o.dsn, f.ssn, uint16(len(b))
		if d.HasChecksum {
			d.Checksum = mptcp.Checksum(d.DSN, d.SSN, d.Length, b)
		}
		f.ssn += uint32(len(b))
		at := len(plain)
		plain = d.Append(plain)
		if f.capture != nil {
			f.capture.frame(true, plain[at:], b)
		}
		plain = append(plain, b...)
	}
	if len(plain) > 0 {
		_, err = f.conn.Write(plain)
	}
	*pb = plain[:0]
	plainPool.Put(pb)
	if err != nil {
		return false, err
	}
	return f.carrier.flush()
}

// wrote does the books of a batch and gives the write token on or back.
func (s *Session) wrote(f *subflow, now int64, blocked bool, err error) {
	end := f.carrier.written.Load() + uint64(len(f.carrier.pending()))
	if f.probeSent > f.lastSend { // options go first
		f.probeEnd = f.produced
	}
	f.tx.outstanding += int(end - f.produced)
	f.produced = end
	if f.sentRing.una == f.sentRing.tail && len(f.batch) > 0 && !f.stale {
		f.progress = now // the clock of a stall starts with the first byte out
	}
	for i := range f.batch {
		o := &f.batch[i]
		o.p = nil
		if f.epoch != s.epoch {
			continue // the session was renewed: the numbers mean nothing now
		}
		if f.closed {
			s.inflight.At(o.sn).On &^= 1 << f.slot
			s.redo = append(s.redo, o.sn)
		} else {
			f.sentRing.push(sentMark{sn: o.sn, end: end, at: now})
		}
		s.inflight.Unpin(o.sn)
	}
	f.batch = f.batch[:0]
	f.lastSend = now
	if err != nil {
		f.closed = true
		go f.close() // Close may wait for a write; never under the lock
	}
	if blocked {
		f.blocked = true
		f.blockedAt = now
		f.kick <- struct{}{}
		return
	}
	f.writing = false
}

// drained takes the write token back from the writer goroutine.
func (s *Session) drained(f *subflow, err error) {
	s.mu.Lock()
	f.blocked, f.writing = false, false
	f.unstick(s.now())
	if err != nil {
		f.closed = true
	}
	s.mu.Unlock()
	s.pump()
}
