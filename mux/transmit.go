package mux

import (
	"sync"

	"github.com/mpsocks/mpsocks/mux/buf"
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
		if f == nil || s.closed || len(b) > maxPacket {
			s.queue.drops[dropInvalid]++
			p.Release()
			continue
		}
		var payload []byte
		if f.packets < 16 {
			payload = udpPayload(b)
		}
		s.classify(f, len(b), payload, now)
		f.packets++
		s.queue.push(f, p, now)
	}
}

func udpPayload(b []byte) []byte {
	n := 28
	if b[0]>>4 == 6 {
		n = 56
	}
	if len(b) < n {
		return []byte{}
	}
	return b[n:]
}

// Flush hands queued packets to the subflows.
func (s *Session) Flush() { s.pump() }

// pump sends what can be sent and has the monitor watch it.
func (s *Session) pump() {
	s.touch()
	s.move()
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

// assign moves packets from the queue to subflows: first what must go again,
// then band by band, as long as the scheduler finds room.
func (s *Session) assign(now int64) {
	if len(s.redo) == 0 && s.queue.idle() {
		return
	}
	s.fillCandidates(now)
	if len(s.cands) == 0 {
		return
	}
	s.reinject()
	if s.inflight.full() {
		return
	}
	s.assignSmall(now)
	s.assignBulk(bandNormal, now)
	if s.queue.bands[bandNormal].empty() {
		s.assignBulk(bandBackup, now)
	}
}

func (q *queue) idle() bool {
	return q.bands[0].empty() && q.bands[1].empty() && q.bands[2].empty()
}

// assignSmall serves the latency band: each packet where it arrives first,
// with copies while they pay.
func (s *Session) assignSmall(now int64) {
	b := &s.queue.bands[bandLatency]
	set := usable(s.cands, false)
	for !b.empty() && !s.inflight.full() {
		i := pickSmall(s.cands, set, quantum, s.turn)
		if i == noSubflow {
			return
		}
		s.turn++
		f, p := s.queue.pop(bandLatency, now, segmentSize)
		if p == nil {
			return
		}
		n := p.Len()
		if f.beh.quic {
			i = pickSteady(s.cands, set, quantum, f.home)
		}
		sn := s.commit(f, p, now)
		s.give(i, sn, n, f)
		if want := s.copies(f, n); want > 0 {
			s.copy(sn, n, f, set, 1<<i, want)
		}
	}
}

// copy gives a packet to more subflows: other paths first, then, on paths
// that lose packets, others of the same path.
func (s *Session) copy(sn uint64, n int, f *flow, set, carried uint64, want int) {
	for _, same := range [2]bool{false, true} {
		for want > 0 {
			if same && !s.lossy {
				return
			}
			i := pickCopy(s.cands, set, carried, n, s.turn, same)
			if i == noSubflow {
				break
			}
			carried |= 1 << i
			s.give(i, sn, n, f)
			s.turn++
			want--
			f.copies++
			s.copied += uint64(n)
			s.copyTokens -= float64(n)
			if !same {
				break
			}
		}
	}
}

// assignBulk serves a band in bursts: one choice, then as much as fits.
func (s *Session) assignBulk(band int, now int64) {
	b := &s.queue.bands[band]
	for !b.empty() && !s.inflight.full() {
		f := b.fresh.head
		if f == nil {
			f = b.old.head
		}
		class := f.class
		set := usable(s.cands, class == ClassMetered)
		ordered := class == ClassOrdered
		if ordered {
			set = together(s.cands, set)
		}
		i := pickBulk(s.cands, set, b.backlog(), f.waited(now), ordered)
		if s.mode == ModeLatency {
			i = pickSmall(s.cands, set, quantum, 0)
		}
		if i == noSubflow {
			return
		}
		c := &s.cands[i]
		for c.room > 0 && !b.empty() {
			f, p := s.queue.pop(band, now, segmentSize)
			if p == nil {
				break
			}
			n := p.Len()
			sn := s.commit(f, p, now)
			s.give(i, sn, n, f)
			if s.mode == ModeRedundant {
				s.copy(sn, n, f, set, 1<<i, 1)
			}
			if f.class != class {
				break
			}
		}
	}
}

// commit gives a packet its DSN. From here on it is delivered.
func (s *Session) commit(f *flow, p *buf.Buffer, now int64) uint64 {
	b := p.Bytes()
	f.octets += uint64(len(b))
	if f.stream != nil {
		s.classify(f, len(b), nil, now)
		f.packets++
	} else if !packet.IsFragment(b) { // the Identification of fragments joins them
		// It counts what got a DSN, so that the receiver of a flow that was
		// spread sees gaps only where something is still under way.
		packet.SetID(b, f.id)
		f.id++
	}
	s.octets += uint64(len(b))
	if s.capture != nil {
		s.capture.inner(true, b)
	}
	return s.inflight.push(p)
}

// give puts a segment into a subflow's next batch.
func (s *Session) give(i int, sn uint64, n int, fl *flow) {
	c, f := &s.cands[i], s.candSub[i]
	sg := s.inflight.at(sn)
	sg.on |= 1 << f.slot
	sg.pins++
	f.pending = append(f.pending, sn)
	f.pendingSize += n + frameHead
	c.queued += n + frameHead
	c.room -= n + frameHead
	f.sent += uint64(n)
	f.path.sent += uint64(n)
	if fl != nil {
		fl.used |= 1 << f.slot
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
		sg := f.s.inflight.at(sn)
		f.batch = append(f.batch, outgoing{p: sg.p, dsn: sg.dsn, sn: sn})
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
	f.tx.outstanding += int(end - f.produced)
	f.produced = end
	if f.sentRing.una == f.sentRing.tail && len(f.batch) > 0 {
		f.progress = now // the clock of a stall starts with the first byte out
	}
	for i := range f.batch {
		o := &f.batch[i]
		o.p = nil
		if f.epoch != s.epoch {
			continue // the session was renewed: the numbers mean nothing now
		}
		sg := s.inflight.at(o.sn)
		sg.pins--
		if f.closed {
			sg.on &^= 1 << f.slot
			s.redo = append(s.redo, o.sn)
			continue
		}
		f.sentRing.push(sentMark{sn: o.sn, end: end, at: now})
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
