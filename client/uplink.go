package client

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

const (
	// innerTTL is what hosts send with today (RFC 1700's successor registry).
	innerTTL = 64
	// recentNames is how many names a flow remembers without asking the shared
	// table: one is common, a resolver's two or a game's lobby and match servers
	// occur.
	recentNames = 4
)

// inner is one local end inside the tunnel: an inner port, and what is needed
// to send from it. Associations and the peers of forwards are inners.
type inner struct {
	innerPort
	client *Client
	source mux.Source       // whom the session's rules see
	holder admission.Holder // whom caps and shares count it for

	mu     sync.Mutex // guards all following fields; taken once per batch
	closed bool
	sent4  bool // a packet was made, so that the server may have a mapping
	sent6  bool
	recent []*name // the newest names, or nil
	fresh  bool    // a packet was made since the last round of alive.go

	received atomic.Uint64 // bytes of datagrams that came

	named atomic.Pointer[[]*named] // flows to names, or nil; stored with mu held

	// Guarded by names.mu.
	waiting int           // datagrams that wait for a name
	calm    chan struct{} // closed when none does; nil = nobody waits for that
}

// finish gives the payload in b its destination and its headers. It returns b
// if it is ready to be sent; kept says that it waits for a name. in.mu is held.
func (in *inner) finish(b *buf.Buffer, h *header, to netip.AddrPort, tos uint8, now *moment) (out *buf.Buffer, kept bool) {
	if h.host != nil {
		if to, kept = in.toHost(h.host, h.to.Port(), b, tos, now); kept || !to.IsValid() {
			return nil, kept
		}
	}
	if !in.wrap(b, to, tos) {
		return nil, false
	}
	return b, false
}

// wrap makes the payload in b a packet to the given destination: IP and UDP
// headers are written in front, in place. A payload too long for one mapping of
// the tunnel makes two packets: the second one is then b.Next, see appendPackets.
// wrap returns false, and counts the drop, if the payload fits no datagram; b
// stays the caller's. in.mu is held.
func (in *inner) wrap(b *buf.Buffer, to netip.AddrPort, tos uint8) bool {
	h := packet.UDP{Dst: to, TOS: tos, TTL: innerTTL}
	switch {
	case to.Port() == 0:
		in.client.drops.add(dropPort)
		return false
	case !mayReach(to):
		in.client.drops.add(dropTunnel)
		return false
	case !h.Fits(b.Len()):
		in.client.drops.add(dropSize)
		return false
	}
	in.fresh = true
	if to.Addr().Is4() {
		in.sent4 = true
	} else {
		in.sent6 = true
	}
	h.Src = in.innerPort.source(to.Addr())
	if h.Long(b.Len()) {
		h.ID = in.client.fragmentIDs.Add(1)
	}
	b.Next = udpio.Packet(b, &h)
	return true
}

// mayReach says whether an application may send to an address: within the
// tunnel only to the server's echo and resolver. Everything else there is the
// halves' own business, and believed.
func mayReach(to netip.AddrPort) bool {
	a := to.Addr()
	if !packet.TunnelPrefix4.Contains(a) && !packet.TunnelPrefix6.Contains(a) {
		return true
	}
	return (a == packet.ServerHost4 || a == packet.ServerHost6) &&
		(to.Port() == packet.EchoPort || to.Port() == packet.ResolverPort)
}

// appendPackets appends what wrap has made of b: a packet, or two fragments,
// which have to go to the session one behind the other.
func appendPackets(pkts []*buf.Buffer, b *buf.Buffer) []*buf.Buffer {
	pkts = append(pkts, b)
	if b.Next != nil {
		pkts, b.Next = append(pkts, b.Next), nil
	}
	return pkts
}

// toHost finds the address of a domain destination. If it is known, it is
// returned; if not, b waits for it (kept is true) or is to be dropped. in.mu is
// held.
func (in *inner) toHost(host []byte, port uint16, b *buf.Buffer, tos uint8, now *moment) (to netip.AddrPort, kept bool) {
	if f := in.flowTo(host, port, now.get()); f != nil {
		return netip.AddrPortFrom(in.next(f, now.get()), port), false
	}
	n := in.name(host)
	if n == nil {
		in.client.drops.add(dropName)
		return to, false
	}
	names := in.client.names
	a := n.answer.Load()
	if a == nil || now.get().After(a.stale) {
		if !names.wait(n, waitingDatagram{in, n, b, port, tos}, now.get()) {
			in.client.drops.add(dropNameQueue)
			return to, false
		}
		return to, true
	}
	if now.get().After(a.fresh) {
		names.refresh(n, in.holder, now.get()) // meanwhile the old answer serves
	}
	if !a.addr.IsValid() {
		in.client.drops.add(dropName)
		return to, false
	}
	return netip.AddrPortFrom(in.address(n, port, a, now.get()), port), false
}

// address is where the flow to a name goes, which begins if there is none; the
// answer has an address. in.mu is held.
func (in *inner) address(n *name, port uint16, a *answer, now time.Time) netip.Addr {
	if f := in.flowTo([]byte(n.host), port, now); f != nil {
		return in.next(f, now)
	}
	return in.begin(n, port, n.choose(a, now), now).addr
}

// name finds the entry of a host, among the recent ones first, whatever its
// spelling: asking the shared table takes a lock that all associations use. The caller
// holds in.mu.
func (in *inner) name(host []byte) *name {
	for _, n := range in.recent {
		if sameHost(host, n.host) {
			return n
		}
	}
	n := in.client.names.find(host)
	if n == nil {
		return nil
	}
	if len(in.recent) < recentNames {
		in.recent = append(in.recent, n)
	} else {
		copy(in.recent[1:], in.recent[:recentNames-1])
		in.recent[0] = n
	}
	return n
}

// moment is the time of a batch: it is read at most once, and only if needed.
type moment struct{ t time.Time }

func (m *moment) get() time.Time {
	if m.t.IsZero() {
		m.t = time.Now()
	}
	return m.t
}
