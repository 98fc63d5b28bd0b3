package server

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// maxRooms is the number of Loops at most: four saturate any network that one
// server's sessions write to.
const maxRooms = 4

// A room is a Loop with the mappings whose sockets it reads. Everything but
// loop belongs to the Loop's goroutine.
type room struct {
	index   int
	loop    *udpio.Loop
	header  packet.UDP
	packets []*buf.Buffer // of the batch at hand
	touched []*peer       // whose sessions got packets in this round
}

// newRoom makes the room of that index with its Loop.
func newRoom(index int, log zerolog.Logger) (*room, error) {
	r := &room{index: index}
	loop, err := udpio.NewLoop(log, r.flush)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	r.loop = loop
	return r, nil
}

// receive is the udpio.Handler of a mapping's socket: it makes packets of the
// datagrams, in place, and queues them in the session.
func (m *mapping) receive(c *udpio.Conn, msgs []udpio.Message) {
	r, s := m.room, m.peer.server
	var now int64
	if m.permits != nil || m.visitors != nil {
		now = s.now()
	}
	h := &r.header
	h.Dst = m.inner
	c.Gather(m.peer.session.Far())
	if m.peer.client.over.Load() {
		s.drops.add(dropQuota, uint64(len(msgs)))
		return
	}
	taken := uint64(0)
	for i := range msgs {
		msg := &msgs[i]
		if reason := m.bring(h, msg, now); reason != dropNone {
			s.drops.add(reason, 1)
			continue
		}
		r.packets = wrap(r.packets, msg.Buf, h)
		msg.Buf = nil
		taken++
	}
	if taken == 0 {
		return
	}
	s.received.Add(taken)
	m.peer.session.Send(&m.source, r.packets)
	clear(r.packets)
	r.packets = r.packets[:0]
	r.touch(m.peer)
}

// touch has a session flushed at the end of the round.
func (r *room) touch(p *peer) {
	if !p.touched[r.index] {
		p.touched[r.index] = true
		r.touched = append(r.touched, p)
	}
}

// bring fills in the header of the packet that one datagram becomes, from its
// true sender.
func (m *mapping) bring(h *packet.UDP, msg *udpio.Message, now int64) dropReason {
	from := msg.Addr
	if from.Addr().Zone() != "" { // zones mean nothing at the other end
		from = netip.AddrPortFrom(from.Addr().WithZone(""), from.Port())
	}
	if from.Addr().Is4() != m.inner.Addr().Is4() {
		return dropFamily
	}
	if packet.InTunnel(from.Addr()) { // no such sender is on the internet
		return dropForged
	}
	if m.visitors == nil && !m.peer.server.rules.current.Load().speaks(from.Addr()) {
		return dropForged
	}
	if m.permits != nil && !m.permits.admits(from, now) {
		return dropFiltered
	}
	if m.visitors != nil {
		m.visitors.note(from, now)
	}
	h.Src, h.TOS, h.TTL = from, msg.TOS, msg.TTL
	if h.TTL == 0 { // the system does not tell
		h.TTL = hopLimit
	}
	n := msg.Buf.Len()
	if l := m.peer.client.in.limiter.Load(); l != nil && !l.AllowN(time.Now(), n+packet.UDPOverhead(h.Dst.Addr())) {
		return dropRate
	}
	switch {
	case !fits(h, n):
		return dropSize
	case long(h, n):
		h.ID = m.peer.fragmentIDs.Add(1)
	}
	return dropNone // all others are counted by the session
}

// fits says whether a datagram to h.Dst can have n bytes.
func fits(h *packet.UDP, n int) bool {
	if h.Dst.Addr().Is4() {
		return n <= packet.MaxUDP4Payload
	}
	return n <= packet.MaxUDP6Payload
}

// long says whether a datagram of n bytes to h.Dst has to be two fragments: the
// Data-Level Length of a mapping ends at 65,535 (RFC 8684, Section 3.3.1). The
// Identification joins them at the other end, where ports do not count, so the
// peer's counter gives it and not the flow's.
func long(h *packet.UDP, n int) bool { return n > packet.MaxWhole6 && !h.Dst.Addr().Is4() }

// wrap makes the payload in b, which fits, a packet with header h, in place, and
// appends it. What is too long for one becomes two fragments, which have to go to
// the session one behind the other.
func wrap(packets []*buf.Buffer, b *buf.Buffer, h *packet.UDP) []*buf.Buffer {
	if !long(h, b.Len()) {
		packet.PutUDP(b.Prepend(packet.UDPOverhead(h.Dst.Addr())), h)
		return append(packets, b)
	}
	tail := buf.Get(packet.MaxTail)
	first, second := packet.SplitUDP(b.Prepend(packet.UDP6Overhead), tail.Bytes(), h)
	b.Resize(first)
	tail.Resize(second)
	return append(packets, b, tail)
}

// flush ends a round of the Loop: what the handlers queued leaves, once per
// session.
func (r *room) flush() {
	for i, p := range r.touched {
		p.touched[r.index] = false
		p.session.Flush()
		r.touched[i] = nil
	}
	r.touched = r.touched[:0]
}
