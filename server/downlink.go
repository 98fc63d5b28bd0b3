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

// maxLoops is the number of Loops at most: four saturate any network that one
// server's sessions write to.
const maxLoops = 4

// A loop is one of UDP sockets, those of mappings. What it has beside the Loop belongs to the
// Loop's goroutine.
type loop struct {
	*udpio.Loop
	index   int
	header  packet.UDP
	packets []*buf.Buffer // of the batch at hand
	touched []*peer       // whose sessions got packets in this round
}

// newLoop makes the one of that index.
func newLoop(index int, log zerolog.Logger) (*loop, error) {
	l := &loop{index: index}
	var err error
	if l.Loop, err = udpio.NewLoop(log, l.flush); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	return l, nil
}

// receive is the udpio.Handler of a mapping's socket: it makes packets of the
// datagrams, in place, and queues them in the session.
func (m *mapping) receive(c *udpio.Conn, msgs []udpio.Message) {
	l, s := m.loop, m.peer.server
	var now int64
	if m.permits != nil || m.visitors != nil {
		now = s.now()
	}
	h := &l.header
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
		l.packets = wrap(l.packets, msg.Buf, h)
		msg.Buf = nil
		taken++
	}
	if taken == 0 {
		return
	}
	s.received.Add(taken)
	m.peer.session.Send(&m.source, l.packets)
	clear(l.packets)
	l.packets = l.packets[:0]
	l.touch(m.peer)
}

// touch has a session flushed at the end of the round.
func (l *loop) touch(p *peer) {
	if !p.touched[l.index] {
		p.touched[l.index] = true
		l.touched = append(l.touched, p)
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
	case !h.Fits(n):
		return dropSize
	case h.Long(n):
		h.ID = m.peer.fragmentIDs.Add(1)
	}
	return dropNone // all others are counted by the session
}

// wrap makes the payload in b, which fits, a packet with header h, in place, and
// appends it, or the two fragments of it.
func wrap(packets []*buf.Buffer, b *buf.Buffer, h *packet.UDP) []*buf.Buffer {
	packets = append(packets, b)
	if second := udpio.Packet(b, h); second != nil {
		packets = append(packets, second)
	}
	return packets
}

// flush ends a round of the Loop: what the handlers queued leaves, once per
// session.
func (l *loop) flush() {
	for i, p := range l.touched {
		p.touched[l.index] = false
		p.session.Flush()
		l.touched[i] = nil
	}
	l.touched = l.touched[:0]
}
