package server

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// verdictSlots is how many destinations' verdicts a batch remembers: more than
// are in use at once, small enough to stay in the cache (2.5 KiB).
const verdictSlots = 64

// An uplink is what one call of Deliver works with. Uplinks are pooled: a call
// takes one, so it needs no lock and allocates nothing.
type uplink struct {
	writer *udpio.Writer
	header packet.UDP
	now    int64
	drops  [dropReasons]uint32

	// The mapping of the previous packet, valid while nat.mu is held.
	key     uint64
	mapping *mapping

	// verdicts remembers what the access rules said.
	rules    *access
	verdicts [verdictSlots]struct {
		dst    netip.AddrPort
		reason dropReason
	}
	// answers are packets of the server's own, for the session.
	answers []*buf.Buffer
	// opened is how many mappings were asked for anew.
	opened int
	// failed says that the client hears of no more failures in this batch.
	failed bool
	// ended are the keys of mappings that the client needs no more.
	ended []uint64
	// refused are the inner sources that got no mapping.
	refused refusals
	// wishes are what the client has asked for.
	wishes []wish
}

func newUplink() any { return &uplink{writer: udpio.NewWriter()} }

// Deliver implements mux.Handler: it sends the datagrams of a batch to where
// they are addressed, with one system call per socket and less.
func (p *peer) Deliver(pkts [][]byte) {
	s := p.server
	u := s.uplinks.Get().(*uplink)
	u.now = s.now()
	p.nat.mu.RLock()
	for _, pkt := range pkts {
		if reason := u.packet(p, pkt); reason != dropNone {
			u.drops[reason]++
		}
	}
	p.nat.mu.RUnlock()
	u.mapping, u.failed = nil, false
	sent, lost := u.writer.Flush()
	s.sent.Add(uint64(sent))
	u.drops[dropSend] += uint32(lost)
	for r, n := range u.drops {
		if n > 0 {
			s.drops.add(dropReason(r), uint64(n))
		}
	}
	clear(u.drops[:])
	if len(u.ended) > 0 {
		p.nat.end(u.ended) // after Flush: the batch may have their last datagrams
		u.ended = u.ended[:0]
	}
	u.refused.tell(p)
	for i := range u.wishes {
		p.session.Wish(u.wishes[i].at, u.wishes[i].want)
	}
	u.wishes = u.wishes[:0]
	if len(u.answers) > 0 {
		p.session.Send(&p.source, u.answers) // the session flushes when Deliver returns
		clear(u.answers)
		u.answers = u.answers[:0]
	}
	s.uplinks.Put(u)
}

// packet adds one packet's datagram to the Writer, or answers it. It is called
// with p.nat.mu held for reading, and may let go of it meanwhile.
func (u *uplink) packet(p *peer, pkt []byte) dropReason {
	h := &u.header
	payload, err := packet.ParseUDP(pkt, h)
	if err == packet.ErrFragment && packet.IsFragment(pkt) {
		var whole bool
		if payload, whole = p.halves.Add(pkt, h); !whole {
			return dropNone // its other half is on the way
		}
	} else if err == packet.ErrProtocol {
		return ping(u, p, pkt)
	} else if err != nil {
		return dropPacket
	}
	key, ok := innerKey(h.Src)
	if !ok {
		return dropSource
	}
	if dst := h.Dst.Addr(); dst == packet.ServerHost4 || dst == packet.ServerHost6 {
		return u.service(p, payload)
	}
	if p.client.over.Load() {
		return dropQuota
	}
	if reason := u.verdict(p.server.rules.current.Load(), h.Dst); reason != dropNone {
		// Who has sent to a published port may be answered wherever he is.
		visited := p.nat.mappings[key]
		if (reason != dropOwn || !p.server.outlet.hairpin(h.Dst)) &&
			(visited == nil || visited.visitors == nil || !visited.visitors.admits(h.Dst, u.now)) {
			return unreachable(u, p, reason)
		}
	}
	if p.client.braked.Load() && !p.client.brake.admits(h.Dst) {
		return dropBrake
	}
	if l := p.client.out.limiter.Load(); l != nil && !l.AllowN(time.Now(), len(pkt)) {
		return dropRate
	}
	if h.TTL <= 1 {
		return expired(u, p)
	}
	m := u.mapping
	if m == nil || key != u.key {
		var reason dropReason
		if m, reason = u.find(p, key); m == nil {
			return reason
		}
	}
	if m.sent.Load() != u.now {
		m.sent.Store(u.now)
	}
	if m.permits != nil {
		m.permits.note(h.Dst, u.now)
	}
	// DSCP and ECN go on as they came (RFC 6040). Where the system cannot set
	// them, udpio sends without, which is not-ECT and so no lie.
	ttl := h.TTL - 1
	if h.TTL == hopLimit {
		ttl = 0 // nobody has asked for another than the system's
	}
	u.writer.AddTTL(m.conn, h.Dst, h.TOS, ttl, payload)
	return dropNone
}

// find returns the mapping of the packet's sender and remembers it for the next one; there is
// one from now on, or the reason why not. It is called as packet is.
func (u *uplink) find(p *peer, key uint64) (m *mapping, reason dropReason) {
	if m = p.nat.mappings[key]; m == nil {
		u.mapping = nil
		p.nat.mu.RUnlock()
		m, reason = p.nat.open(key, u.header.Src, u.now)
		p.nat.pause(u.opened)
		u.opened++
		p.nat.mu.RLock()
		if m == nil {
			if reason == dropCap {
				u.refused.add(u.header.Src)
			}
			return nil, reason
		}
	}
	u.key, u.mapping = key, m
	return m, dropNone
}

// verdict asks the access rules, or remembers what they said.
func (u *uplink) verdict(a *access, dst netip.AddrPort) dropReason {
	if u.rules != a { // others since
		u.rules = a
		clear(u.verdicts[:])
	}
	ip := dst.Addr().As16()
	hash := binary.LittleEndian.Uint64(ip[0:]) ^ binary.LittleEndian.Uint64(ip[8:]) ^ uint64(dst.Port())<<32
	hash *= 0x9E3779B97F4A7C15 // Fibonacci hashing, as in remotes
	v := &u.verdicts[hash>>58]
	if v.dst != dst {
		v.dst = dst
		v.reason = a.verdict(dst)
		if dst.Addr().Is4In6() { // no such address is ever on the wire (RFC 4291, Section 2.5.5.2)
			v.reason = dropRefused
		}
	}
	return v.reason
}

// service serves the server's own ports inside the tunnel.
func (u *uplink) service(p *peer, payload []byte) dropReason {
	switch u.header.Dst.Port() {
	case packet.EchoPort:
		return u.echo(p, payload)
	case packet.ResolverPort:
		return u.query(p, payload)
	case packet.DiscardPort:
		return u.discard(payload)
	case packet.AlivePort:
		return u.alive(p, payload)
	case packet.WishPort:
		return u.wish(payload)
	}
	return dropService
}

// control says whether a datagram to the server's own ports is the client's word, and
// not that of a program that uses it: it comes from the client's own address and a port
// that no association gets.
func (u *uplink) control() bool {
	src := u.header.Src
	return src.Port() == packet.DiscardPort && (src.Addr() == packet.ClientHost4 || src.Addr() == packet.ClientHost6)
}
