package server

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// TestOwnAddresses: what listens on the server's own addresses is out of reach, unless
// allowed, but for the mappings of other programs.
func TestOwnAddresses(t *testing.T) {
	public := netip.MustParseAddr("203.0.113.80")
	s := testServer(t, func(c *conf.Server) {
		c.Relay.Allow = nil
		c.Advertise = []netip.AddrPort{netip.MustParseAddrPort("203.0.113.81:443")}
		c.Relay.OwnAddresses = []netip.Addr{public}
	}, nil)
	rules := s.rules.current.Load()
	for _, a := range []string{"203.0.113.80", "203.0.113.81", "::ffff:203.0.113.80", "64:ff9b::203.0.113.80"} {
		if got := rules.verdict(netip.AddrPortFrom(netip.MustParseAddr(a), 22)); got != dropOwn {
			t.Errorf("%s: %v", a, got)
		}
	}
	// Those of the interfaces, which are special where tests run, or public.
	ifaces, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range ifaces {
		p := netip.MustParsePrefix(a.String())
		if !rules.own.has(p.Addr()) {
			t.Errorf("%s is not known as an own address", p)
		}
	}
	opened := *rules
	opened.allow = allow(t, "203.0.113.80:22")
	if got := opened.verdict(netip.AddrPortFrom(public, 22)); got != dropNone {
		t.Errorf("allowed: %v", got)
	}
	// A mapping's port is reached, no other one, and no longer than it lives.
	p := newPeer(s, "laptop", newFakeSession())
	key, _ := innerKey(inner4(7))
	m, reason := p.nat.open(key, inner4(7), s.now())
	if m == nil {
		t.Fatal(reason)
	}
	at := netip.AddrPortFrom(public, m.conn.LocalAddr().Port())
	if !s.outlet.hairpin(at) || s.outlet.hairpin(netip.AddrPortFrom(public, at.Port()^1)) {
		t.Error("not the mapping's port alone is reached")
	}
	if s.outlet.hairpin(netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), at.Port())) {
		t.Error("the other family's port is reached")
	}
	p.nat.end([]uint64{key})
	if s.outlet.hairpin(at) {
		t.Error("an ended mapping's port is reached")
	}
}

// TestOwnAddressesByDatagram sends to an own address through a session.
func TestOwnAddressesByDatagram(t *testing.T) {
	s := testServer(t, func(c *conf.Server) {
		c.Relay.OwnAddresses = []netip.Addr{netip.MustParseAddr("203.0.113.80")}
	}, nil)
	p := newPeer(s, "laptop", newFakeSession())
	p.Deliver([][]byte{makePacket(inner4(1), netip.MustParseAddrPort("203.0.113.80:53"), 0, 0, []byte("x"))})
	if diff := cmp.Diff(map[string]uint64{"own": 1}, s.drops.snapshot()); diff != "" {
		t.Error(diff)
	}
}

// TestInterfacesAreWatched: an address that comes while the server runs is known.
func TestInterfacesAreWatched(t *testing.T) {
	s := testServer(t, nil, nil)
	cfg := conf.DefaultServer()
	gone := netip.MustParseAddr("203.0.113.99")
	s.rules.mu.Lock()
	s.rules.current.Store(&access{own: own{gone: ours}, from: s.rules.from}) // as if it had been there
	s.rules.mu.Unlock()
	eventually(t, "the interfaces are read again", func() bool {
		rules := s.rules.current.Load()
		return !rules.own.has(gone) && rules.own.has(netip.MustParseAddr("127.0.0.1"))
	})
	cfg.Relay.Deny = allow(t, "192.0.2.0/24")
	s.rules.govern(cfg)
	if s.rules.current.Load().verdict(netip.MustParseAddrPort("192.0.2.1:80")) != dropDenied {
		t.Error("other rules do not hold at once")
	}
}

// TestControlIsTheClients: a program that uses the client cannot speak for it. Its
// datagrams to the tunnel's own ports come from an inner port of an association.
func TestControlIsTheClients(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	remote, at := remoteUDP(t, "127.0.0.1")
	p.Deliver([][]byte{makePacket(inner4(7), at, 0, 0, []byte("x"))})
	read(t, remote)
	list := []byte{198, 18, 0, 2, 0, 7} // inner4(7)
	second := netip.MustParseAddr("198.18.0.3")
	for _, src := range []netip.AddrPort{inner4(8), inner4(1080), netip.AddrPortFrom(second, packet.DiscardPort)} {
		for _, port := range []uint16{packet.DiscardPort, packet.AlivePort} {
			p.Deliver([][]byte{makePacket(src, netip.AddrPortFrom(packet.ServerHost4, port), 0, 0, list)})
		}
	}
	if n := p.nat.count(); n != 1 {
		t.Errorf("%d mappings are left", n)
	}
	if diff := cmp.Diff(map[string]uint64{"source": 6}, s.drops.snapshot()); diff != "" {
		t.Error(diff)
	}
	p.Deliver([][]byte{news(inner4(0), inner4(7))})
	if n := p.nat.count(); n != 0 {
		t.Errorf("%d mappings after the client's own word", n)
	}
}

// TestForgedSender: a datagram from outside that claims to come from inside the tunnel
// goes nowhere.
func TestForgedSender(t *testing.T) {
	for _, a := range []string{"198.18.0.1", "198.19.255.255", "fd6d:7073::1", "198.17.255.255", "198.20.0.0", "fd6d:7074::1", "192.0.2.1"} {
		addr := netip.MustParseAddr(a)
		inside := packet.TunnelPrefix4.Contains(addr) || packet.TunnelPrefix6.Contains(addr)
		if packet.InTunnel(addr) != inside {
			t.Errorf("InTunnel(%s) = %v", a, !inside)
		}
		s := new(Server)
		s.rules.current.Store(&access{allow: allow(t, "fd6d:7074::1")})
		m := &mapping{peer: &peer{server: s, client: &client{}}, inner: inner4(7)}
		if addr.Is6() {
			m.inner = inner6(7)
		}
		h := packet.UDP{Dst: m.inner}
		msg := oneMessage(netip.AddrPortFrom(addr, 53))
		defer msg.Buf.Release()
		if got := m.bring(&h, &msg, 0); (got == dropForged) != inside {
			t.Errorf("from %s: %v", a, got)
		}
	}
}

// TestNeighboursDoNotSpeak: what the server's own machine and network send to a mapping goes
// nowhere, unless clients may reach who sends it; to a published port anybody may.
func TestNeighboursDoNotSpeak(t *testing.T) {
	s := new(Server)
	s.rules.current.Store(&access{allow: allow(t, "192.168.1.0/24:69", "[fd00::1]:53", "10.9.0.0/16"), deny: allow(t, "10.9.9.9")})
	for from, want := range map[string]dropReason{
		"127.0.0.1:4000": dropForged, "10.0.0.1:53": dropForged, "169.254.169.254:80": dropForged, "192.168.2.1:69": dropForged, "10.9.9.9:53": dropForged,
		"[::1]:4000": dropForged, "[fe80::1%eth0]:53": dropForged, "[fd00::2]:53": dropForged,
		"192.168.1.7:33000": dropNone, "[fd00::1]:53": dropNone, "10.9.1.1:1": dropNone, "9.9.9.9:53": dropNone, "[2620:fe::9]:53": dropNone,
	} {
		at := netip.MustParseAddrPort(from)
		m := &mapping{peer: &peer{server: s, client: &client{}}, inner: inner4(7)}
		if at.Addr().Is6() {
			m.inner = inner6(7)
		}
		h := packet.UDP{Dst: m.inner}
		msg := oneMessage(at)
		defer msg.Buf.Release()
		if got := m.bring(&h, &msg, 0); got != want {
			t.Errorf("from %s: %v, want %v", from, got, want)
		}
		m.visitors = &permits{table: remotes{limit: maxPermits}, ports: true, idle: int64(time.Minute)}
		if got := m.bring(&h, &msg, 0); got != dropNone {
			t.Errorf("from %s to a published port: %v", from, got)
		}
	}
}

// TestPermitsExpire: who was sent to may answer for the idle time, and not for ever.
func TestPermitsExpire(t *testing.T) {
	const idle = 5 * time.Minute
	for _, ports := range []bool{false, true} {
		f := permits{table: remotes{limit: maxPermits}, ports: ports, idle: int64(idle)}
		remote := netip.MustParseAddrPort("192.0.2.1:53")
		now := int64(time.Hour)
		if f.admits(remote, now) {
			t.Error("a stranger is let in")
		}
		f.note(remote, now)
		if !f.admits(remote, now+int64(idle)-int64(time.Second)) {
			t.Error("an answer in time is not let in")
		}
		if f.admits(remote, now+int64(idle)+int64(time.Second)) {
			t.Error("a remote once allowed answers for ever")
		}
		f.note(remote, now+int64(2*idle))
		if !f.admits(remote, now+int64(2*idle)) {
			t.Error("sending again does not let it in again")
		}
	}
}

// TestQuotaBursts: simultaneous takers get what there is, no more and no less.
func TestQuotaBursts(t *testing.T) {
	var q quota
	q.max.Store(16)
	var got counter
	var wg sync.WaitGroup
	for range 69 {
		wg.Go(func() {
			if q.take() {
				got.Add(1)
			}
		})
	}
	wg.Wait()
	if got.Load() != 16 || q.used.Load() != 16 {
		t.Errorf("%d taken, %d used", got.Load(), q.used.Load())
	}
}

// TestBroadcasts: the addresses of a network's hosts all together are not reached where
// the server is in that network, whatever the form they are written in, and its neighbours
// are.
func TestBroadcasts(t *testing.T) {
	o := own{}
	for _, p := range []string{"203.0.113.70/26", "2001:db8:7::5/64", "198.51.100.9/32", "192.0.2.0/31", "::ffff:203.0.113.201/29", "2001:db8:8::/127"} {
		o.around(netip.MustParsePrefix(p))
	}
	a := access{own: o}
	for addr, want := range map[string]dropReason{
		"203.0.113.127":          dropRefused,
		"203.0.113.64":           dropRefused,
		"::ffff:203.0.113.127":   dropRefused,
		"64:ff9b::203.0.113.127": dropRefused,
		"2002:cb00:717f::1":      dropRefused,
		"2001:db8:7::":           dropRefused,
		"203.0.113.65":           dropNone,
		"203.0.113.128":          dropNone,
		"203.0.113.255":          dropNone,
		"198.51.100.9":           dropNone, // it is not noted as the server's here
		"192.0.2.0":              dropNone,
		"192.0.2.1":              dropNone,
		"2001:db8:7::1":          dropNone,
		"2001:db8:8::":           dropNone,
	} {
		if got := a.verdict(netip.AddrPortFrom(netip.MustParseAddr(addr), 53)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
	// An interface's own address stays one, where it is the first of its network.
	o = own{netip.MustParseAddr("2001:db8:9::"): ours}
	o.around(netip.MustParsePrefix("2001:db8:9::/64"))
	if !o.has(netip.MustParseAddr("2001:db8:9::")) {
		t.Error("an own address is not one any more")
	}
}

// TestPermitsAreCharged: whom mappings let answer is memory of their client's, which makes it
// by a datagram each.
func TestPermitsAreCharged(t *testing.T) {
	filters := &permits{table: remotes{limit: maxPermits}, idle: int64(time.Minute)}
	n := &nat{mappings: map[uint64]*mapping{}}
	for i, m := range []*mapping{{}, {permits: filters}, {visitors: filters}} {
		m.conn = new(udpio.Conn)
		n.mappings[uint64(i)] = m
	}
	if got := n.memory(); got != 3*mappingMemory {
		t.Errorf("three mappings are charged with %d bytes", got)
	}
	for i := range uint32(2 * maxPermits) {
		a := netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
		filters.note(netip.AddrPortFrom(a, 53), 0)
	}
	if got := n.memory(); got != 3*mappingMemory+2*24*maxPermits {
		t.Errorf("with %d destinations at two of them %d", maxPermits, got)
	}
}
