package engine

import (
	"encoding/binary"
	"hash"
	"hash/fnv"
	"math/rand/v2"

	"github.com/mpsocks/mpsocks/mux/dsn"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/reseq"
	"github.com/mpsocks/mpsocks/mux/stream"
)

// A host is what a session does around its engine, in virtual time: it writes, reads,
// ticks and obeys, and notes what arrives.
type host struct {
	w       *world
	e       *Engine
	space   dsn.Space
	order   *reseq.Resequencer
	views   [][]byte
	owed    int64
	ackAt   int64
	ticking bool // something is watched
	calm    bool // but not closely
	turn    int  // counts what was scheduled
	lastT   int64
	paths   []*Path
	redial  func(path int, old *simSub)
	slowed  int // subflows that were taken for throttled

	bytes     uint64 // of the large flows
	datagrams int    // of these, and how many came behind a later one
	swapped   int
	talks     map[uint16]func(pkt []byte) // programs, by their ports: see talker
	offered   int                         // datagrams of large flows that were sent here
	latest    map[uint64]uint64
	small     map[uint64]int64 // when each packet of the small one came
	came      func(pkt []byte) // called with each datagram that comes, or nil,
	due       func(pkt []byte) // and instead of the counts above with each that is in order
	asleep    int64            // until then it does not run, see stumbles
	sum       hash.Hash64
	streams   *stream.Table // or nil
	inbox     *stream.Inbox
}

// A simSub is one end of a subflow.
type simSub struct {
	h        *host
	path     int
	sub      *Subflow
	tx       *tcp
	peer     *simSub
	frames   []simFrame // what the peer is to read
	produced uint64
	record   int // bytes of the record that is being made,
	inRecord int // and its frames
	out      int // bytes that the kernel did not take yet
	batch    []Outgoing
	gone     bool
}

// A simFrame is one option with its mapping, ending at that byte.
type simFrame struct {
	end    uint64
	ack    uint64
	pkt    []byte
	dsn    uint64
	option []byte
}

// onHost is called with each host that is made; or nil.
var onHost func(h *host, client bool)

func newHost(w *world, client bool, paths int) *host {
	h := &host{w: w, e: New(client, ModeAuto, nil, 120e9), small: map[uint64]int64{}, latest: map[uint64]uint64{}, sum: fnv.New64a()}
	if onHost != nil {
		onHost(h, client)
	}
	h.order = reseq.New(func(packet.Key, uint8) bool { return false })
	h.e.Establish(1)
	h.space.Reset(1)
	for range paths {
		h.paths = append(h.paths, nil)
	}
	return h
}

// dial joins two hosts by one more subflow of a path.
func dial(w *world, a, b *host, path int, there, back *line) (x, y *simSub) {
	x, y = &simSub{h: a, path: path}, &simSub{h: b, path: path}
	x.peer, y.peer = y, x
	x.tx, y.tx = newTCP(w, there, back), newTCP(w, back, there)
	for _, s := range []*simSub{x, y} {
		s.tx.ready = s.peer.arrived
		s.tx.writable = func() { s.h.awake(s.flush) }
		s.sub = NewSubflow(s, s.h.paths[path], s.h.e.Epoch(), w.now)
		// The handshakes have measured the way.
		s.tx.srtt = 2 * (there.delay + back.delay) / 2
		s.tx.minRTT, s.tx.vari = s.tx.srtt, s.tx.srtt/2
		if !s.h.e.Attach(s.sub, 0) {
			panic("no room")
		}
		r := s.tx.report(true)
		s.h.e.Learn(s.sub, w.now, &r)
	}
	a.pump()
	b.pump()
	return x, y
}

// end ends both ends.
func (s *simSub) end() {
	for _, x := range []*simSub{s, s.peer} {
		if x.gone {
			continue
		}
		x.gone, x.tx.dead = true, true
		x.h.e.Detach(x.sub, x.h.w.now, 0, 0)
	}
	s.h.pump()
	s.peer.h.pump()
}

// pump is move, and has the monitor watch what is under way.
func (h *host) pump() {
	h.move()
	if !h.ticking || h.order.Holds() && h.calm {
		h.schedule(0)
	}
}

// move assigns and writes.
func (h *host) move() {
	hurry := false
	for {
		var room [MaxSubflows]Ask
		for _, a := range h.e.Glance(h.w.now, room[:0]) {
			r := a.Sub.Owner.(*simSub).tx.report(false)
			h.e.Learn(a.Sub, h.w.now, &r)
		}
		hurry = h.e.Assign(h.w.now) || hurry
		f := h.e.Next()
		if f == nil {
			break
		}
		s := f.Owner.(*simSub)
		var control []byte
		s.batch, control = h.e.Take(f, s.batch[:0])
		for len(control) > 0 {
			n := int(control[1])
			s.add(simFrame{option: control[:n]}, n)
			control = control[n:]
		}
		if len(s.batch) > 0 {
			h.owed, h.ackAt = 0, h.w.now
		}
		for i, o := range s.batch {
			n := simHead + o.P.Len()
			if i == 0 {
				n += 4 // the Data ACK
			}
			if s.record+n > RecordSize {
				s.seal()
			}
			s.add(simFrame{ack: h.space.Due, pkt: o.P.Bytes(), dsn: o.DSN}, n)
		}
		s.seal()
		s.out -= s.tx.write(s.out)
		h.e.Wrote(f, h.w.now, s.batch, s.produced, s.out > 0, false)
	}
	if hurry {
		h.schedule(0)
	}
}

// simHead is the DSS of a packet whose DSN is said by its lower half.
const simHead = 14

// recordOverhead is what TLS adds to a record: header, type and tag (RFC 8446, Section 5.2).
const recordOverhead = 5 + 1 + 16

// add puts a frame into the record.
func (s *simSub) add(f simFrame, n int) {
	s.frames = append(s.frames, f)
	s.record += n
	s.inRecord++
}

// seal ends the record: none of its frames is read before it is there as a whole.
func (s *simSub) seal() {
	if s.record == 0 {
		return
	}
	s.record += recordOverhead
	s.produced += uint64(s.record)
	s.out += s.record
	for i := len(s.frames) - s.inRecord; i < len(s.frames); i++ {
		s.frames[i].end = s.produced
	}
	s.record, s.inRecord = 0, 0
}

// schedule has the monitor tick in so many ns, and not when it would have otherwise.
func (h *host) schedule(in int64) {
	h.ticking, h.calm = true, in > TickBusy
	h.turn++
	turn := h.turn
	h.w.at(h.w.now+in, func() {
		h.awake(func() {
			if turn == h.turn {
				h.tick()
			}
		})
	})
}

// flush gives the kernel what it did not take before.
func (s *simSub) flush() {
	if s.gone || s.out == 0 {
		return
	}
	if s.out -= s.tx.write(s.out); s.out == 0 {
		s.h.e.Drained(s.sub, s.h.w.now, false)
		s.h.pump()
	}
}

// stumbles has the host's program stand still now and then, as on a machine that others use as
// well: some milliseconds ten times a second, some ten once in one. The kernel goes on.
func (h *host) stumbles(rnd *rand.Rand) {
	var next func()
	next = func() {
		long := int64(5e6 * rnd.Float64() * rnd.Float64())
		if rnd.IntN(10) == 0 {
			long = int64(5e6 + 25e6*rnd.Float64())
		}
		h.asleep = h.w.now + long
		h.w.at(h.asleep+int64(100e6*rnd.ExpFloat64()), next)
	}
	h.w.at(int64(100e6*rnd.ExpFloat64()), next)
}

// awake does something when the host runs.
func (h *host) awake(do func()) {
	if h.w.now < h.asleep {
		h.w.at(h.asleep, do)
		return
	}
	do()
}

// arrived is read, when the host runs.
func (s *simSub) arrived(upTo uint64) { s.h.awake(func() { s.read(upTo) }) }

// read takes the frames that have come whole.
func (s *simSub) read(upTo uint64) {
	if s.gone {
		return
	}
	h, from := s.h, s.peer
	s.sub.Heard(h.w.now, upTo)
	ack, n := uint64(0), 0
	for n < len(from.frames) && from.frames[n].end <= upTo {
		f := &from.frames[n]
		n++
		ack = max(ack, f.ack)
		if f.option != nil {
			var o mptcp.Option
			if _, err := o.Parse(f.option, false); err != nil {
				panic(err)
			}
			switch o.Subtype {
			case mptcp.MPExperimental:
				h.e.Probe(s.sub, &o.Experimental, h.w.now)
			case mptcp.MPDSS:
				ack = max(ack, o.DSS.Ack)
			}
			continue
		}
		fresh, err := h.space.Accept(f.dsn, uint32(len(f.pkt)))
		if err != nil {
			panic(err)
		}
		if fresh {
			h.take(s.sub.Slot(), f.pkt)
		}
	}
	from.frames = from.frames[:copy(from.frames, from.frames[n:])]
	h.owed += h.space.Take()
	if ack != 0 {
		h.e.Acked(s.sub, ack)
	}
	if h.owed >= 256<<10 {
		h.ack(s.sub)
	}
	h.pump()
}

func (h *host) ack(f *Subflow) {
	h.owed, h.ackAt = 0, h.w.now
	d := mptcp.DSS{HasAck: true, Ack8: true, Ack: h.space.Due}
	f.Control(d.Append(nil))
}

// take notes a packet.
func (h *host) take(slot int, pkt []byte) {
	if packet.Proto(pkt) == packet.ProtoTCP {
		if h.inbox != nil {
			h.inbox.Add(pkt, nil)
			h.inbox.Flush()
		}
		h.bytes += uint64(len(pkt))
		return
	}
	if h.came != nil {
		h.came(pkt)
	}
	h.views, _ = h.order.Add(slot, pkt, h.views[:0], h.w.now)
	h.hand()
}

// large counts a packet of a large flow and whether it is behind a later one.
func (h *host) large(flow, n uint64, size int) {
	h.bytes += uint64(size)
	h.datagrams++
	if n < h.latest[flow] {
		h.swapped++
	}
	h.latest[flow] = max(h.latest[flow], n)
}

func (h *host) hand() {
	for _, p := range h.views {
		if h.said(p) {
			continue
		}
		if h.due != nil {
			h.due(p)
			continue
		}
		n := binary.BigEndian.Uint64(packet.UDPPayload(p))
		if flow := n >> 48; flow != 0 {
			h.large(flow, n, len(p))
			continue
		}
		if _, twice := h.small[n]; twice {
			panic("delivered twice")
		}
		h.small[n] = h.w.now
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], n)
		binary.BigEndian.PutUint64(b[8:], uint64(h.w.now))
		h.sum.Write(b[:])
	}
	h.order.Done()
}

// tick is the session's monitor.
func (h *host) tick() {
	now := h.w.now
	var room [MaxSubflows]Ask
	for _, a := range h.e.Due(now, room[:0]) {
		r := a.Sub.Owner.(*simSub).tx.report(a.Full)
		h.e.Learn(a.Sub, now, &r)
	}
	o := h.e.Tick(now, now-h.lastT, h.space.Octets)
	h.lastT = now
	for _, t := range o.Tune {
		c := t.Sub.Owner.(*simSub).tx
		switch t.What {
		case TuneLowat:
			c.lowat = t.Bytes
		case TunePace:
			c.pace = t.Rate
		case TuneCongestion:
			c.cc = t.Name
		}
	}
	for i := range o.Said {
		if o.Said[i].What == ConnectionSlowed {
			h.slowed++
		}
	}
	for _, f := range o.Replace {
		if s := f.Owner.(*simSub); h.redial != nil {
			h.redial(s.path, s)
		}
	}
	if h.streams != nil {
		span := int64(0)
		for _, f := range h.e.subs {
			if f.Moves() {
				span = max(span, f.tx.minRTT)
			}
		}
		h.streams.SetSpan(span)
		h.streams.Tick(now)
	}
	next := o.Next
	if o.Ack != nil && h.owed > 0 {
		if now-h.ackAt >= 25e6 {
			h.ack(o.Ack)
		} else {
			next = min(next, h.ackAt+25e6-now)
		}
	}
	for due := true; due; {
		h.views, due = h.order.Tick(now, o.Hold, h.views[:0])
		h.hand()
	}
	if h.order.Holds() {
		next = TickBusy
	}
	more := o.Busy || h.owed > 0 || h.order.Holds()
	if more {
		next = min(next, TickCalm)
	}
	h.schedule(next)
	h.ticking = more
	h.move()
}
