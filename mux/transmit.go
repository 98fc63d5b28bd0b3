package mux

import (
	"sync"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// The way out: Send puts packets into the queue, pump has them given DSNs and
// subflows, and writes. Whoever calls pump does the work; several goroutines may be in
// it, each writing to another subflow.

const recordSize = engine.RecordSize

var plainPool = sync.Pool{New: func() any { b := make([]byte, 0, 2*recordSize); return &b }}

// Send takes whole IP packets of one source into the queue and owns them. It
// never blocks; what the queue cannot hold is dropped there. Flush sends.
func (s *Session) Send(src *Source, pkts []*buf.Buffer) {
	s.enter(func(e *engine.Engine, now int64) {
		for _, p := range pkts {
			e.Send(src, p, now)
		}
	})
}

// Flush hands queued packets to the subflows.
func (s *Session) Flush() { s.pump() }

// Far says that the shortest way to the peer is so long that what comes often may wait for
// what comes behind it (package lull).
func (s *Session) Far() bool { return s.far.Load() }

// pump sends what can be sent and has the monitor watch it, which would be in
// the way before.
func (s *Session) pump() {
	s.move()
	s.monitor.touch()
}

// move assigns and writes until there is nothing that this goroutine can do.
func (s *Session) move() {
	var (
		f       *subflow // whose write token is here
		control []byte
		asks    [engine.MaxSubflows]engine.Ask
		asked   int
		end     uint64
		blocked bool
		failed  bool
		hurry   bool
	)
	for {
		was := f
		s.enter(func(e *engine.Engine, now int64) {
			if was != nil {
				e.Wrote(was.core, now, was.batch, end, blocked, failed)
				f = nil
			}
			if asked = len(e.Glance(now, asks[:0])); asked > 0 {
				return
			}
			if !s.hush.Load() {
				hurry = e.Assign(now) || hurry
			}
			if next := e.Next(); next != nil {
				f = connOf(next)
				f.batch, control = e.Take(next, f.batch[:0])
			}
		})
		if was != nil {
			was.settle(blocked, failed)
		}
		for i := range asks[:asked] {
			connOf(asks[i].Sub).report(false)
		}
		if f == nil && asked == 0 {
			break
		}
		if f != nil {
			var err error
			blocked, err = f.write(control)
			failed = err != nil
			end = f.carrier.Committed()
		}
	}
	if hurry {
		s.monitor.hurry()
	}
}

// settle does what follows from a write, without the session's lock: the writer
// goroutine waits for room, or the connection is at its end.
func (f *subflow) settle(blocked, failed bool) {
	if failed {
		go f.close() // it may wait for a write
	}
	if blocked {
		f.kick <- struct{}{}
	}
}

// write frames the batch into records and gives them to the kernel. The
// caller holds the write token and not the session's lock.
func (f *subflow) write(control []byte) (blocked bool, err error) {
	pb := plainPool.Get().(*[]byte)
	plain := append((*pb)[:0], control...)
	if f.capture != nil && len(control) > 0 {
		f.capture.Options(true, control)
	}
	if len(f.batch) > 0 {
		f.s.space.pending.Store(0) // before next is read: what comes in between is acknowledged once more
		f.s.space.ackAt.Store(f.s.core.now())
	}
	// The Data ACK goes once, in front: the subflow keeps the order.
	d := mptcp.DSS{HasAck: true, HasMap: true, Ack: f.s.space.next.Load(), HasChecksum: f.keys.checksum}
	if len(f.batch) > 0 {
		d.Ack8 = !f.txAck.Enough(d.Ack) || !f.s.space.halves.Load()
	}
	sums := !f.s.unsummed.Load()
	var head [mptcp.MaxDSSLen]byte
	for i := range f.batch {
		o := &f.batch[i]
		b := o.P.Bytes()
		if sums && packet.Proto(b) == packet.ProtoTCP {
			b = f.sum(b)
		}
		d.DSN, d.SSN, d.Length = o.DSN, f.ssn, uint16(len(b))
		d.DSN8 = !f.txDSN.Enough(o.DSN) || o.Full
		// A datagram is not split over two records: it could be read only
		// when the second one is there.
		if len(plain) > 0 && len(plain)+d.Len()+len(b) > f.most {
			if _, err := f.carrier.WriteOver(plain); err != nil {
				return false, err
			}
			plain = plain[:0]
		}
		if d.HasChecksum {
			d.Checksum = mptcp.Checksum(d.DSN, d.SSN, d.Length, b)
		}
		f.ssn += uint32(len(b))
		h := d.Append(head[:0])
		d.HasAck = false
		if f.capture != nil {
			if o.First {
				f.s.capture.Inner(true, b)
			}
			f.capture.Frame(true, h, b)
		}
		if frame := f.alone(o, h, len(plain) > 0 || sums); frame != nil {
			if _, err := f.carrier.WriteOver(frame); err != nil {
				return false, err
			}
			continue
		}
		plain = append(append(plain, h...), b...)
	}
	if len(plain) > 0 {
		_, err = f.carrier.WriteOver(plain)
	}
	*pb = plain[:0]
	plainPool.Put(pb)
	if err != nil {
		return false, err
	}
	return f.carrier.Flush()
}

// alone returns a packet that fills most of a record as one frame, head in front, so that it is
// not copied; nil if it is to be copied. The room before and behind a packet is the first batch's: another
// writer may be reading the packet itself.
func (f *subflow) alone(o *engine.Outgoing, head []byte, copied bool) []byte {
	if copied || !o.First || 2*o.P.Len() < f.most {
		return nil
	}
	frame := o.P.Fronted(len(head))
	copy(frame, head)
	return frame
}

// sum returns a copy of a stream's packet with its checksum of TCP, until the next one: the
// packet itself may be in another writer's hands. The caller holds the write token.
func (f *subflow) sum(b []byte) []byte {
	f.summed = append(f.summed[:0], b...)
	packet.SumTCP(f.summed)
	return f.summed
}

// drained takes the write token back from the writer goroutine.
func (s *Session) drained(f *subflow, err error) {
	s.enter(func(e *engine.Engine, now int64) { e.Drained(f.core, now, err != nil) })
	s.pump()
}
