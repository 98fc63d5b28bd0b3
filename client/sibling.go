package client

import (
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

const (
	// maxSiblings is how many UDP sockets an association serves beside the one that it is
	// answered at.
	maxSiblings = 7
	// siblingIdle is how long one has to be silent before another one may have its place: no
	// less than a NAT may forget a mapping after (RFC 4787, REQ-5).
	siblingIdle = 2 * time.Minute
)

// sibling is another UDP socket of an association's application. RFC 1928, Section 7, binds an
// association to a host and not to a port, and a program may send from two sockets in turns. Each
// has an inner port of its own, as it would have a mapping of its own at a NAT (RFC 4787, REQ-1),
// and so hears what was said to it. It ends with the association.
type sibling struct {
	inner

	// Set once at construction.
	of *association
	at netip.AddrPort

	sent  time.Time      // the newest datagram; guarded by the association's mutex
	space [2]*buf.Buffer // for the packets of a datagram; guarded by mu
}

// close ends a sibling; its association's mutex is held.
func (s *sibling) close() {
	delete(s.of.port.siblings, s.at)
	s.end()
	s.client.associations.Release(s.holder)
}

// send sends what a sibling has said, one SOCKS datagram. Fragments are put together for an
// association's first socket only. The association's mutex is held; m.Buf is nil if it was taken.
func (s *sibling) send(m *udpio.Message, now *moment) {
	s.sent = now.get()
	var h header
	n, err := parseHeader(m.Buf.Bytes(), &h)
	switch {
	case err != nil:
		s.client.drops.add(dropHeader)
		return
	case h.frag != 0:
		s.client.drops.add(dropFragment)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := m.Buf
	b.Trim(n)
	out, kept := s.finish(b, &h, h.to, m.TOS, now)
	if out != nil || kept {
		m.Buf = nil
	}
	if out == nil {
		return
	}
	s.client.tunnel.Send(&s.source, appendPackets(s.space[:0], out))
	clear(s.space[:])
	s.of.loop.sent.Add(1)
}

// receive takes one packet from the tunnel to the socket.
func (s *sibling) receive(d *delivery, pkt, payload []byte) {
	s.answered(d.udp.Src)
	s.of.tell(s.at, d, pkt, payload)
}
