package stream

import (
	"slices"
	"unsafe"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// What the peer's segments do to a stream: the order is restored here.

// An earlySegment came before the SYN that says where it belongs.
type earlySegment struct {
	seq, ack uint32
	window   uint16
	flags    uint8
	b        *buf.Buffer // or nil
}

// An earlyAck is the furthest acknowledgement that came before the SYN without anything
// else: it says all that those before it have said.
type earlyAck struct {
	ack    uint32
	window uint16
	came   bool
}

// note takes one more.
func (a *earlyAck) note(ack uint32, window uint16) {
	if d := int32(ack - a.ack); !a.came || d > 0 || d == 0 && window > a.window {
		*a = earlyAck{ack, window, true}
	}
}

// charge is the memory that it holds, with data or without.
func (e *earlySegment) charge() int {
	n := int(unsafe.Sizeof(*e))
	if e.b != nil {
		n += e.b.Held()
	}
	return n
}

// maxDistance is how far a sequence number can be from where we stand: the
// largest window that a scale of windowShift can say.
const maxDistance = 65535 << windowShift

// believes says whether a RST belongs to this stream (RFC 9293, Section
// 3.10.7): one of an older stream on the same ports must not end it.
func (c *block) believes(h *packet.TCP) bool {
	if h.Flags&packet.FlagACK != 0 && c.synSent {
		if _, ok := c.ackOffset(h.Ack); ok {
			return true
		}
	}
	if !c.peerSYN {
		return !c.table.client
	}
	d := int64(int32(h.Seq - (c.irs + 1 + uint32(c.received))))
	return d >= -maxDistance && d <= int64(c.promised-c.received)+1
}

// resetArrived takes a RST that belongs to the stream. What the peer sent before
// it may come later, by another subflow, and is read first: the SYN too, unless the
// peer has sent none and says so by the sequence number 0 (RFC 9293, Section
// 3.10.7.1).
func (c *block) resetArrived(seq uint32) {
	if !c.peerSYN && c.table.client && seq != 0 {
		c.rstEarly, c.rstSeq = true, seq
		return
	}
	if c.peerSYN {
		c.rstKnown = true
		c.rstAt = c.received + uint64(max(0, int64(int32(seq-(c.irs+1+uint32(c.received))))))
	}
	if !c.peerSYN || c.resetReached() {
		c.die(errReset)
	}
}

// resetReached says whether all data before the peer's RST has come. A FIN takes
// a sequence number too.
func (c *block) resetReached() bool {
	return c.rstKnown && (c.received >= c.rstAt || c.peerFIN)
}

// synchronize takes the peer's SYN, which may carry data, and then what came
// before it.
func (c *block) synchronize(h *packet.TCP, payload []byte, b *buf.Buffer) bool {
	// The client's SYN comes without an ACK, the server's with one that
	// answers ours. Anything else is an old stream's.
	ok := h.Flags&packet.FlagACK == 0
	if c.table.client {
		_, valid := c.ackOffset(h.Ack)
		ok = !ok && valid && c.synSent
	}
	if c.peerSYN || !ok {
		if b != nil {
			b.Release()
		}
		return false
	}
	c.peerSYN = true
	c.heard()
	c.irs, c.highest = h.Seq, 0
	c.shift = windowScale(h.Options)
	early := c.early
	c.early = nil
	c.segmentArrived(h.Seq+1, h.Ack, h.Window, h.Flags, payload, b)
	for i := range early {
		e := &early[i]
		c.charge(-e.charge())
		var p []byte
		if e.b != nil {
			p = e.b.Bytes()
		}
		if c.err == nil {
			c.segmentArrived(e.seq, e.ack, e.window, e.flags, p, e.b)
		} else if e.b != nil {
			e.b.Release()
		}
	}
	if c.ackEarly.came && c.err == nil {
		c.acknowledged(c.ackEarly.ack, c.ackEarly.window, false)
	}
	if c.rstEarly && c.err == nil {
		c.resetArrived(c.rstSeq)
	}
	return !c.table.client
}

// heard notes that the stream does not wait for its SYN any more.
func (c *block) heard() {
	if c.unheard {
		c.unheard = false
		c.table.unheard.Add(-1)
	}
}

// windowScale reads the option of a SYN; without one windows are not scaled.
func windowScale(o []byte) uint8 {
	for len(o) > 0 {
		switch {
		case o[0] == 0:
			return 0
		case o[0] == 1:
			o = o[1:]
		case len(o) < 2 || o[1] < 2 || int(o[1]) > len(o):
			return 0
		case o[0] == 3 && o[1] == 3:
			return min(o[2], maxShift)
		default:
			o = o[o[1]:]
		}
	}
	return 0
}

// hold keeps a segment until the SYN comes. Of those that bring nothing the furthest
// acknowledgement is kept, and at the server none: it has sent nothing that could be
// acknowledged.
func (c *block) hold(h *packet.TCP, payload []byte, b *buf.Buffer) {
	if len(payload) == 0 && h.Flags&packet.FlagFIN == 0 {
		if c.table.client && h.Flags&packet.FlagACK != 0 {
			c.ackEarly.note(h.Ack, h.Window)
		}
		return
	}
	e := earlySegment{seq: h.Seq, ack: h.Ack, window: h.Window, flags: h.Flags, b: b}
	if b == nil && len(payload) > 0 {
		e.b = buf.Get(len(payload))
		copy(e.b.Bytes(), payload)
	}
	c.early = append(c.early, e)
	c.highest += uint64(len(payload))
	c.charge(e.charge())
	switch {
	case c.highest > initialWindow:
		c.abort(errViolated)
	case len(c.early) > maxEarly:
		c.abort(errMemory)
	}
}

func (c *block) dropEarly() {
	for i := range c.early {
		e := &c.early[i]
		c.charge(-e.charge())
		if e.b != nil {
			e.b.Release()
		}
	}
	c.early = nil
}

// segmentArrived takes a segment of a synchronized stream. It owns b, which is
// nil or holds a copy of payload.
func (c *block) segmentArrived(seq, ack uint32, window uint16, flags uint8, payload []byte, b *buf.Buffer) {
	if flags&packet.FlagACK != 0 {
		c.acknowledged(ack, window, flags&packet.FlagSYN != 0)
	}
	off := int64(c.received) + int64(int32(seq-(c.irs+1+uint32(c.received))))
	end := off + int64(len(payload))
	switch {
	case len(payload) == 0 && flags&packet.FlagFIN == 0:
	case end < int64(c.received) || end == int64(c.received) && len(payload) > 0 && flags&packet.FlagFIN == 0:
		// Seen before: nothing is delivered twice, so it is an old stream's.
	case off < int64(c.received), end > int64(c.promised), c.finKnown && end > int64(c.finAt):
		c.abort(errViolated)
	case len(payload) > 0 && c.closed && c.finAcked:
		c.abort(errAborted) // the peer goes on although nobody reads: tell it
	default:
		if flags&packet.FlagFIN != 0 {
			if c.finKnown && c.finAt != uint64(end) || uint64(end) < c.highest {
				c.abort(errViolated)
				break
			}
			c.finKnown, c.finAt = true, uint64(end)
		}
		if len(payload) > 0 && c.place(uint64(off), payload, b) {
			b = nil
		}
		if flags&packet.FlagPSH != 0 {
			c.growWindow(c.stoppedAt(uint64(end)))
		}
		if c.err == nil && c.finKnown && c.received == c.finAt && !c.peerFIN {
			c.peerFIN, c.ackOwed = true, true
			c.news = true
		}
		if c.resetReached() {
			c.die(errReset)
		}
	}
	if b != nil {
		b.Release()
	}
}

// ackOffset returns the offset that ack stands for, FIN included, and whether
// anything was sent that it can acknowledge.
func (c *block) ackOffset(ack uint32) (uint64, bool) {
	off := int64(c.acked) + int64(int32(ack-(c.iss+1+uint32(c.acked))))
	most := int64(c.sent)
	if c.finSent {
		most++
	}
	return uint64(off), off >= 0 && off <= most
}

func (c *block) acknowledged(ack uint32, window uint16, syn bool) {
	off, ok := c.ackOffset(ack)
	if !ok {
		return
	}
	if !syn { // the window of a SYN is not scaled; initialWindow holds
		c.edge = max(c.edge, off+uint64(window)<<c.shift)
	}
	if off > c.sent {
		c.finAcked = true
		off = c.sent
	}
	c.acked = max(c.acked, off)
}

// place puts data that is within the window where it belongs and says whether
// it kept b.
func (c *block) place(off uint64, payload []byte, b *buf.Buffer) (kept bool) {
	end := off + uint64(len(payload))
	if off > c.received {
		if b == nil {
			b = buf.Get(len(payload))
			copy(b.Bytes(), payload)
		}
		if !c.insert(piece{off, b}) {
			b.Release()
			return true
		}
		kept = true
		c.beyond = max(c.beyond, end-c.received)
	} else {
		if len(c.pieces) > 0 && end > c.pieces[0].off {
			c.abort(errViolated)
			return false
		}
		kept = c.deliver(payload, b)
		c.join()
		c.news = c.holder == nil
	}
	c.highest = max(c.highest, end)
	c.measure(end)
	return kept
}

// insert keeps a piece beyond a gap, sorted. Pieces that overlap are a
// violation; one that is there already is dropped.
func (c *block) insert(p piece) bool {
	i := len(c.pieces)
	for i > 0 && c.pieces[i-1].off > p.off { // it is mostly the last one
		i--
		if len(c.pieces)-i > 8 {
			i, _ = slices.BinarySearchFunc(c.pieces, p.off, func(q piece, off uint64) int {
				if q.off < off {
					return -1
				}
				return 1
			})
			break
		}
	}
	if i > 0 && c.pieces[i-1].off == p.off && c.pieces[i-1].end() == p.end() {
		return false
	}
	if i > 0 && c.pieces[i-1].end() > p.off || i < len(c.pieces) && p.end() > c.pieces[i].off {
		c.abort(errViolated)
		return false
	}
	c.pieces = slices.Insert(c.pieces, i, p)
	c.charge(p.b.Held())
	return true
}

// join delivers the pieces that have become contiguous.
func (c *block) join() {
	n := 0
	for n < len(c.pieces) && c.pieces[n].off == c.received {
		p := &c.pieces[n]
		c.charge(-p.b.Held())
		if !c.deliver(p.b.Bytes(), p.b) {
			p.b.Release()
		}
		n++
	}
	if n > 0 {
		c.pieces = slices.Delete(c.pieces, 0, n)
		if len(c.pieces) == 0 && cap(c.pieces) > keepItems {
			c.pieces = nil
		}
	}
}

// deliver appends data in order to what can be read, or gives it to the outlet, and says
// whether it kept b, which is nil or a copy of payload.
func (c *block) deliver(payload []byte, b *buf.Buffer) bool {
	n := len(payload)
	c.received += uint64(n)
	if c.closed {
		return false
	}
	c.unread += n
	if c.direct(c.by) && behead(c, &payload, b) {
		if len(payload) > 0 {
			c.holder = c.by
			c.outlet.add(payload, b)
			return b != nil
		}
		return false
	}
	if last := c.ready.back(); last != nil && last.Cap()-last.Len() >= n && n <= packBelow {
		at := last.Len()
		last.Resize(at + n)
		copy(last.Bytes()[at:], payload)
		return false
	}
	if b == nil {
		b = buf.Get(n)
		copy(b.Bytes(), payload)
	}
	c.ready.push(b)
	c.charge(b.Held())
	return true
}

// straight says that the data of a segment would go straight to WriteTo's socket. The lock
// is held.
func (c *block) straight(in *Inbox, seq uint32) bool {
	return c.peerSYN && c.direct(in) && seq == c.irs+1+uint32(c.received)
}

// direct says the same of data in order.
func (c *block) direct(in *Inbox) bool {
	return in != nil && c.outlet != nil && c.ready.front() == nil && (c.holder == nil || c.holder == in) &&
		!c.closed && c.err == nil && !c.outlet.full()
}
