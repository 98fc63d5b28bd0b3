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

// input takes one segment; h and payload are borrowed. It says whether the
// stream was opened by it, so that accept is called once.
func (st *Stream) input(h *packet.TCP, payload []byte) (opened bool) {
	var b *buf.Buffer
	if len(payload) > packBelow {
		b = buf.Get(len(payload)) // filled before the lock is taken
		copy(b.Bytes(), payload)
	}
	st.mu.Lock()
	switch {
	case st.err != nil:
	case h.Flags&packet.FlagRST != 0:
		if st.believes(h) {
			st.resetArrived(h.Seq)
		}
	case h.Flags&packet.FlagSYN != 0:
		opened = st.synchronize(h, payload, b)
		b = nil
	case !st.peerSYN:
		st.hold(h, payload, b)
		b = nil
	default:
		st.segmentArrived(h.Seq, h.Ack, h.Window, h.Flags, payload, b)
		b = nil
	}
	st.unlock()
	if b != nil {
		b.Release()
	}
	return opened
}

// believes says whether a RST belongs to this stream (RFC 9293, Section
// 3.10.7): one of an older stream on the same ports must not end it.
func (st *Stream) believes(h *packet.TCP) bool {
	if h.Flags&packet.FlagACK != 0 && st.synSent {
		if _, ok := st.ackOffset(h.Ack); ok {
			return true
		}
	}
	if !st.peerSYN {
		return !st.table.client
	}
	d := int64(int32(h.Seq - (st.irs + 1 + uint32(st.received))))
	return d >= -maxDistance && d <= int64(st.promised-st.received)+1
}

// resetArrived takes a RST that belongs to the stream. What the peer sent before
// it may come later, by another subflow, and is read first: the SYN too, unless the
// peer has sent none and says so by the sequence number 0 (RFC 9293, Section
// 3.10.7.1).
func (st *Stream) resetArrived(seq uint32) {
	if !st.peerSYN && st.table.client && seq != 0 {
		st.rstEarly, st.rstSeq = true, seq
		return
	}
	if st.peerSYN {
		st.rstKnown = true
		st.rstAt = st.received + uint64(max(0, int64(int32(seq-(st.irs+1+uint32(st.received))))))
	}
	if !st.peerSYN || st.resetReached() {
		st.die(errReset)
	}
}

// resetReached says whether all data before the peer's RST has come. A FIN takes
// a sequence number too.
func (st *Stream) resetReached() bool {
	return st.rstKnown && (st.received >= st.rstAt || st.peerFIN)
}

// synchronize takes the peer's SYN, which may carry data, and then what came
// before it.
func (st *Stream) synchronize(h *packet.TCP, payload []byte, b *buf.Buffer) bool {
	// The client's SYN comes without an ACK, the server's with one that
	// answers ours. Anything else is an old stream's.
	ok := h.Flags&packet.FlagACK == 0
	if st.table.client {
		_, valid := st.ackOffset(h.Ack)
		ok = !ok && valid && st.synSent
	}
	if st.peerSYN || !ok {
		if b != nil {
			b.Release()
		}
		return false
	}
	st.peerSYN = true
	st.irs, st.highest = h.Seq, 0
	st.shift = windowScale(h.Options)
	early := st.early
	st.early = nil
	st.segmentArrived(h.Seq+1, h.Ack, h.Window, h.Flags, payload, b)
	for i := range early {
		e := &early[i]
		st.charge(-e.charge())
		var p []byte
		if e.b != nil {
			p = e.b.Bytes()
		}
		if st.err == nil {
			st.segmentArrived(e.seq, e.ack, e.window, e.flags, p, e.b)
		} else if e.b != nil {
			e.b.Release()
		}
	}
	if st.rstEarly && st.err == nil {
		st.resetArrived(st.rstSeq)
	}
	return !st.table.client
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

// hold keeps a segment until the SYN comes.
func (st *Stream) hold(h *packet.TCP, payload []byte, b *buf.Buffer) {
	e := earlySegment{seq: h.Seq, ack: h.Ack, window: h.Window, flags: h.Flags, b: b}
	if b == nil && len(payload) > 0 {
		e.b = buf.Get(len(payload))
		copy(e.b.Bytes(), payload)
	}
	st.early = append(st.early, e)
	st.highest += uint64(len(payload))
	st.charge(e.charge())
	switch {
	case st.highest > initialWindow:
		st.abort(errViolated)
	case len(st.early) > maxEarly:
		st.abort(errMemory)
	}
}

func (st *Stream) dropEarly() {
	for i := range st.early {
		e := &st.early[i]
		st.charge(-e.charge())
		if e.b != nil {
			e.b.Release()
		}
	}
	st.early = nil
}

// segmentArrived takes a segment of a synchronized stream. It owns b, which is
// nil or holds a copy of payload.
func (st *Stream) segmentArrived(seq, ack uint32, window uint16, flags uint8, payload []byte, b *buf.Buffer) {
	if flags&packet.FlagACK != 0 {
		st.acknowledged(ack, window, flags&packet.FlagSYN != 0)
	}
	off := int64(st.received) + int64(int32(seq-(st.irs+1+uint32(st.received))))
	end := off + int64(len(payload))
	switch {
	case len(payload) == 0 && flags&packet.FlagFIN == 0:
	case end < int64(st.received) || end == int64(st.received) && len(payload) > 0 && flags&packet.FlagFIN == 0:
		// Seen before: nothing is delivered twice, so it is an old stream's.
	case off < int64(st.received), end > int64(st.promised), st.finKnown && end > int64(st.finAt):
		st.abort(errViolated)
	case len(payload) > 0 && st.closed && st.finAcked:
		st.abort(errAborted) // the peer goes on although nobody reads: tell it
	default:
		if flags&packet.FlagFIN != 0 {
			if st.finKnown && st.finAt != uint64(end) || uint64(end) < st.highest {
				st.abort(errViolated)
				break
			}
			st.finKnown, st.finAt = true, uint64(end)
		}
		if len(payload) > 0 && st.place(uint64(off), payload, b) {
			b = nil
		}
		if flags&packet.FlagPSH != 0 {
			st.growWindow(uint64(end))
		}
		if st.err == nil && st.finKnown && st.received == st.finAt && !st.peerFIN {
			st.peerFIN, st.ackOwed = true, true
			st.readable.Broadcast()
		}
		if st.resetReached() {
			st.die(errReset)
		}
	}
	if b != nil {
		b.Release()
	}
}

// ackOffset returns the offset that ack stands for, FIN included, and whether
// anything was sent that it can acknowledge.
func (st *Stream) ackOffset(ack uint32) (uint64, bool) {
	off := int64(st.acked) + int64(int32(ack-(st.iss+1+uint32(st.acked))))
	most := int64(st.sent)
	if st.finSent {
		most++
	}
	return uint64(off), off >= 0 && off <= most
}

func (st *Stream) acknowledged(ack uint32, window uint16, syn bool) {
	off, ok := st.ackOffset(ack)
	if !ok {
		return
	}
	if !syn { // the window of a SYN is not scaled; initialWindow holds
		st.edge = max(st.edge, off+uint64(window)<<st.shift)
	}
	if off > st.sent {
		st.finAcked = true
		off = st.sent
	}
	st.acked = max(st.acked, off)
}

// place puts data that is within the window where it belongs and says whether
// it kept b.
func (st *Stream) place(off uint64, payload []byte, b *buf.Buffer) (kept bool) {
	end := off + uint64(len(payload))
	if off > st.received {
		if b == nil {
			b = buf.Get(len(payload))
			copy(b.Bytes(), payload)
		}
		if !st.insert(piece{off, b}) {
			b.Release()
			return true
		}
		kept = true
	} else {
		if len(st.pieces) > 0 && end > st.pieces[0].off {
			st.abort(errViolated)
			return false
		}
		kept = st.deliver(payload, b)
		st.join()
		st.readable.Broadcast()
	}
	st.highest = max(st.highest, end)
	st.measure(end)
	return kept
}

// insert keeps a piece beyond a gap, sorted. Pieces that overlap are a
// violation; one that is there already is dropped.
func (st *Stream) insert(p piece) bool {
	i := len(st.pieces)
	for i > 0 && st.pieces[i-1].off > p.off { // it is mostly the last one
		i--
		if len(st.pieces)-i > 8 {
			i, _ = slices.BinarySearchFunc(st.pieces, p.off, func(q piece, off uint64) int {
				if q.off < off {
					return -1
				}
				return 1
			})
			break
		}
	}
	if i > 0 && st.pieces[i-1].off == p.off && st.pieces[i-1].end() == p.end() {
		return false
	}
	if i > 0 && st.pieces[i-1].end() > p.off || i < len(st.pieces) && p.end() > st.pieces[i].off {
		st.abort(errViolated)
		return false
	}
	st.pieces = slices.Insert(st.pieces, i, p)
	st.charge(p.b.Held())
	return true
}

// join delivers the pieces that have become contiguous.
func (st *Stream) join() {
	n := 0
	for n < len(st.pieces) && st.pieces[n].off == st.received {
		p := &st.pieces[n]
		st.charge(-p.b.Held())
		if !st.deliver(p.b.Bytes(), p.b) {
			p.b.Release()
		}
		n++
	}
	if n > 0 {
		st.pieces = slices.Delete(st.pieces, 0, n)
		if len(st.pieces) == 0 && cap(st.pieces) > keepItems {
			st.pieces = nil
		}
	}
}

// deliver appends data in order to what can be read, and says whether it kept
// b, which is nil or a copy of payload.
func (st *Stream) deliver(payload []byte, b *buf.Buffer) bool {
	n := len(payload)
	st.received += uint64(n)
	if st.closed {
		return false
	}
	st.unread += n
	if last := st.ready.back(); last != nil && last.Cap()-last.Len() >= n && n <= packBelow {
		at := last.Len()
		last.Resize(at + n)
		copy(last.Bytes()[at:], payload)
		return false
	}
	if b == nil {
		b = buf.Get(n)
		copy(b.Bytes(), payload)
	}
	st.ready.push(b)
	st.charge(b.Held())
	return true
}
