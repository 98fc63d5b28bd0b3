package stream

import (
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// From the send buffer into packets: what the session pulls.

// synOptions is what a SYN says: the largest segment (RFC 9293, Section 3.7.1)
// and the window scale (RFC 7323, Section 2), padded.
var synOptions = []byte{2, 4, payloadOf >> 8, payloadOf & 0xFF, 1, 3, 3, windowShift}

// sendable says whether next would return something. The lock is held.
func (c *block) sendable() bool {
	switch {
	case c.rstDue:
		return true
	case c.err != nil:
		return false
	case c.ackDue, c.synDue && !c.synSent, (c.finDue && !c.finSent || c.rstLast) && c.queued == 0:
		return true
	case c.queued > 0 && c.fits():
		return true
	}
	return c.peerSYN && c.moved()
}

// fits says whether the peer's window takes the first buffer whole. It is not
// cut to fit: the window always opens again by far more than a segment.
func (c *block) fits() bool {
	return c.sent+uint64(c.queue.front().Len()) <= c.edge
}

func (c *block) cut(most int) *buf.Buffer {
	if c.rstLast && c.queued == 0 {
		c.abort(errAborted)
	}
	if c.rstDue {
		c.rstDue = false
		return c.segment(buf.Get(0), packet.FlagRST)
	}
	if !c.sendable() {
		return nil
	}
	var b *buf.Buffer
	var flags uint8
	if !c.synSent {
		c.synSent, c.synDue = true, false
		flags |= packet.FlagSYN
	}
	if c.queued > 0 && c.fits() {
		b = c.take(most)
		if c.queued == 0 || c.sent+uint64(b.Len()+c.queue.front().Len()) > c.edge {
			flags |= packet.FlagPSH // the last one for now
		}
	} else {
		b = buf.Get(0)
	}
	n := b.Len()
	if c.finDue && !c.finSent && c.queued == 0 {
		flags |= packet.FlagFIN
	}
	b = c.segment(b, flags)
	c.sent += uint64(n)
	c.finSent = c.finSent || flags&packet.FlagFIN != 0
	return b
}

// take removes the first buffer, or its first part when most is less.
func (c *block) take(most int) *buf.Buffer {
	room := min(max(most, minCut)-packet.TCPOverhead(c.remote.Addr(), len(synOptions)), payloadOf)
	b := c.queue.front()
	if b.Len() <= room {
		c.queue.pop()
		c.charge(-b.Held())
	} else {
		rest := b
		b = buf.Get(room)
		copy(b.Bytes(), rest.Bytes())
		rest.Trim(room)
	}
	c.queued -= b.Len()
	if c.waiting > 0 && c.queued <= c.sendLimit/2 {
		if c.queued == 0 {
			c.growSend()
		}
		c.writable.Broadcast()
	}
	return b
}

// segment writes the headers in front of the data in b, but for the checksum, which is the
// session's to add where it is wanted.
func (c *block) segment(b *buf.Buffer, flags uint8) *buf.Buffer {
	h := packet.TCP{
		Src: c.local, Dst: c.remote, Flags: flags, TTL: 64, Bare: true, Unsummed: true, ID: c.id,
		Seq: c.iss + 1 + uint32(c.sent),
	}
	c.id++
	if c.finSent {
		h.Seq++
	}
	if flags&packet.FlagRST != 0 && !c.synSent && !c.table.client {
		h.Seq = 0 // no SYN comes (RFC 9293, Section 3.10.7.1)
	}
	overhead := packet.IPv4HeaderLen
	if c.remote.Addr().Is6() {
		overhead = packet.IPv6HeaderLen
	}
	overhead += packet.TCPHeaderLen
	if flags&packet.FlagSYN != 0 {
		h.Seq--
		h.Options = synOptions
		overhead += len(synOptions)
	}
	if c.peerSYN {
		h.Flags |= packet.FlagACK
		h.Ack = c.irs + 1 + uint32(c.received)
		if c.peerFIN {
			h.Ack++
		}
		c.ackOwed, c.ackDue = false, false
	}
	switch {
	case flags&packet.FlagSYN != 0:
		h.Window = 65535 // not scaled (RFC 7323, Section 2.2); initialWindow holds
	case c.peerSYN:
		h.Window = c.announce()
	}
	packet.PutTCP(b.Prepend(overhead), &h)
	return b
}
