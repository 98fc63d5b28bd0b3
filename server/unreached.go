package server

import (
	"net/netip"

	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// What did not arrive, and why, is told to the client by ICMP, as far as this server
// knows: a program that asks a closed port need not wait in vain. So many a second:
const (
	failuresPerSecond = 100
	failureBurst      = 100
)

func newFailureLimit() *rate.Limiter { return rate.NewLimiter(failuresPerSecond, failureBurst) }

// failed is told by a mapping's socket that a datagram did not arrive. The Loop calls it.
func (m *mapping) failed(_ *udpio.Conn, f *udpio.Failure) {
	four := m.inner.Addr().Is4()
	to := netip.AddrPortFrom(f.To.Addr().WithZone("").Unmap(), f.To.Port())
	if f.From.Is4() != four || to.Addr().Is4() != four || to.Port() == 0 || !packet.Carried(four, f.Type, f.Code) {
		return
	}
	b := failurePacket(m.peer, &packet.Failure{
		From: f.From, To: m.inner.Addr(), Type: f.Type, Code: f.Code, Proto: packet.ProtoUDP, Src: m.inner, Dst: to,
	})
	if b == nil {
		return
	}
	m.peer.session.Send(&m.source, []*buf.Buffer{b})
	m.loop.touch(m.peer)
}

// unreachable tells the program, if the access rules refuse its datagram.
func unreachable(u *uplink, p *peer, reason dropReason) dropReason {
	if h := &u.header; reason == dropRefused || reason == dropDenied || reason == dropOwn {
		f := packet.Failure{To: h.Src.Addr(), Proto: packet.ProtoUDP, Src: h.Src, Dst: h.Dst}
		f.Prohibited(f.To.Is4())
		fail(u, p, &f)
	}
	return reason
}

// expired tells the program that its datagram wanted to come no farther.
func expired(u *uplink, p *peer) dropReason {
	h := &u.header
	f := packet.Failure{To: h.Src.Addr(), Proto: packet.ProtoUDP, Src: h.Src, Dst: h.Dst}
	f.Expired(f.To.Is4())
	fail(u, p, &f)
	return dropTTL
}

// fail has a failure told with the answers to a batch, of which the first that is too much
// is the last.
func fail(u *uplink, p *peer, f *packet.Failure) {
	if u.failed {
		return
	}
	f.From = packet.ServerHost6
	if f.To.Is4() {
		f.From = packet.ServerHost4
	}
	if b := failurePacket(p, f); b != nil {
		u.answers = append(u.answers, b)
	} else {
		u.failed = true
	}
}

// failurePacket makes the packet of a failure; nil if the client has heard of enough of them.
// Hosts of the server's own networks are not named, unless the client may reach them.
func failurePacket(p *peer, f *packet.Failure) *buf.Buffer {
	if !p.client.failures.Allow() || p.client.over.Load() {
		return nil
	}
	from := f.From.WithZone("")
	if f.From = from; p.server.rules.current.Load().host(from) != dropNone {
		f.From = packet.ServerHost6
		if f.To.Is4() {
			f.From = packet.ServerHost4
		}
	}
	b := buf.Get(f.Len())
	packet.PutFailure(b.Bytes(), f)
	return b
}
