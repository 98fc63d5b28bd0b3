package stream

import (
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// From the send buffer into packets: what the session pulls.

// synOptions is what a SYN says: the largest segment (RFC 9293, Section 3.7.1)
// and the window scale (RFC 7323, Section 2), padded.
var synOptions = []byte{2, 4, payloadOf >> 8, payloadOf & 0xFF, 1, 3, 3, windowShift}

// Next returns the next whole packet to send, at most "most" bytes long (but at
// least minCut are allowed), or nil when there is nothing now; wake says
// when there is again. The session calls it with its own lock held.
func (st *Stream) Next(most int) *buf.Buffer {
	st.mu.Lock()
	b := st.cut(most)
	if b == nil {
		st.awake = false
	}
	// All that unlock has to do here is to leave the table: a wake from here
	// would call back into the session.
	remove, reset, grown := !st.removed && st.finished(), st.err != nil, 0
	if remove {
		st.removed = true
		grown = st.ungrow()
	}
	st.mu.Unlock()
	if remove {
		st.table.remove(st, reset, grown)
	}
	return b
}

// sendable says whether next would return something. The lock is held.
func (st *Stream) sendable() bool {
	switch {
	case st.rstDue:
		return true
	case st.err != nil:
		return false
	case st.ackDue, st.synDue && !st.synSent, (st.finDue && !st.finSent || st.rstLast) && st.queued == 0:
		return true
	case st.queued > 0 && st.fits():
		return true
	}
	return st.peerSYN && st.moved()
}

// fits says whether the peer's window takes the first buffer whole. It is not
// cut to fit: the window always opens again by far more than a segment.
func (st *Stream) fits() bool {
	return st.sent+uint64(st.queue.front().Len()) <= st.edge
}

func (st *Stream) cut(most int) *buf.Buffer {
	if st.rstLast && st.queued == 0 {
		st.abort(errAborted)
	}
	if st.rstDue {
		st.rstDue = false
		return st.segment(buf.Get(0), packet.FlagRST)
	}
	if !st.sendable() {
		return nil
	}
	var b *buf.Buffer
	var flags uint8
	if !st.synSent {
		st.synSent, st.synDue = true, false
		flags |= packet.FlagSYN
	}
	if st.queued > 0 && st.fits() {
		b = st.take(most)
		if st.queued == 0 || st.sent+uint64(b.Len()+st.queue.front().Len()) > st.edge {
			flags |= packet.FlagPSH // the last one for now
		}
	} else {
		b = buf.Get(0)
	}
	n := b.Len()
	if st.finDue && !st.finSent && st.queued == 0 {
		flags |= packet.FlagFIN
	}
	b = st.segment(b, flags)
	st.sent += uint64(n)
	st.finSent = st.finSent || flags&packet.FlagFIN != 0
	return b
}

// take removes the first buffer, or its first part when most is less.
func (st *Stream) take(most int) *buf.Buffer {
	room := min(max(most, minCut)-packet.TCPOverhead(st.remote.Addr(), len(synOptions)), payloadOf)
	b := st.queue.front()
	if b.Len() <= room {
		st.queue.pop()
		st.charge(-b.Held())
	} else {
		rest := b
		b = buf.Get(room)
		copy(b.Bytes(), rest.Bytes())
		rest.Trim(room)
	}
	st.queued -= b.Len()
	if st.waiting > 0 && st.queued <= st.sendLimit/2 {
		if st.queued == 0 {
			st.growSend()
		}
		st.writable.Broadcast()
	}
	return b
}

// segment writes the headers in front of the data in b.
func (st *Stream) segment(b *buf.Buffer, flags uint8) *buf.Buffer {
	h := packet.TCP{
		Src: st.local, Dst: st.remote, Flags: flags, TTL: 64, Bare: true, ID: st.id,
		Seq: st.iss + 1 + uint32(st.sent),
	}
	st.id++
	if st.finSent {
		h.Seq++
	}
	if flags&packet.FlagRST != 0 && !st.synSent && !st.table.client {
		h.Seq = 0 // no SYN comes (RFC 9293, Section 3.10.7.1)
	}
	overhead := packet.IPv4HeaderLen
	if st.remote.Addr().Is6() {
		overhead = packet.IPv6HeaderLen
	}
	overhead += packet.TCPHeaderLen
	if flags&packet.FlagSYN != 0 {
		h.Seq--
		h.Options = synOptions
		overhead += len(synOptions)
	}
	if st.peerSYN {
		h.Flags |= packet.FlagACK
		h.Ack = st.irs + 1 + uint32(st.received)
		if st.peerFIN {
			h.Ack++
		}
		st.ackOwed, st.ackDue = false, false
	}
	switch {
	case flags&packet.FlagSYN != 0:
		h.Window = 65535 // not scaled (RFC 7323, Section 2.2); initialWindow holds
	case st.peerSYN:
		h.Window = st.announce()
	}
	packet.PutTCP(b.Prepend(overhead), &h)
	return b
}

// Ended reports whether the stream has nothing to send any more, ever.
func (st *Stream) Ended() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.removed && !st.rstDue
}
