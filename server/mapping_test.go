package server

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

var sameGot = cmp.Options{cmp.AllowUnexported(got{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(got{}, "ttl")}

func TestRoundTrip(t *testing.T) {
	for _, tt := range []struct {
		host  string
		inner netip.AddrPort
	}{
		{"127.0.0.1", inner4(4000)},
		{"::1", inner6(4000)},
	} {
		t.Run(tt.host, func(t *testing.T) {
			s := testServer(t, nil, nil)
			sess := newFakeSession()
			p := newPeer(s, "laptop", sess)
			remote, at := remoteUDP(t, tt.host)
			for i, payload := range []string{"", "hello", strings.Repeat("x", 1200), strings.Repeat("y", 9000), strings.Repeat("z", 65000)} {
				p.Deliver([][]byte{makePacket(tt.inner, at, 0, uint32(i), []byte(payload))})
				text, from := read(t, remote)
				if text != payload {
					t.Fatalf("%d bytes arrived as %d", len(payload), len(text))
				}
				if _, err := remote.WriteToUDPAddrPort([]byte(payload), from); err != nil {
					t.Fatal(err)
				}
				want := got{src: at, dst: tt.inner, payload: []byte(payload)}
				if diff := cmp.Diff(want, sess.next(t), sameGot); diff != "" {
					t.Fatal(diff)
				}
			}
			st := s.status()
			if st.DatagramsUp != 5 || st.DatagramsDown != 5 || st.Mappings != 1 {
				t.Errorf("state %+v", st)
			}
			p.Closed(nil)
			if n := s.mappings.used.Load(); n != 0 {
				t.Errorf("%d mappings after Closed", n)
			}
			// What comes late is dropped and makes no mapping.
			p.Deliver([][]byte{makePacket(tt.inner, at, 0, 9, nil)})
			if diff := cmp.Diff(map[string]uint64{"closed": 1}, s.drops.snapshot()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestHairpin is RFC 4787 REQ-9: the external address is the source.
func TestHairpin(t *testing.T) {
	s := testServer(t, nil, nil)
	sess := newFakeSession()
	p, q := newPeer(s, "laptop", sess), newPeer(s, "phone", newFakeSession())
	remote, at := remoteUDP(t, "127.0.0.1")
	p.Deliver([][]byte{makePacket(inner4(1), at, 0, 0, []byte("a"))})
	_, first := read(t, remote)
	q.Deliver([][]byte{makePacket(inner4(1), at, 0, 0, []byte("b"))})
	_, second := read(t, remote)
	q.Deliver([][]byte{makePacket(inner4(1), first, 0, 0, []byte("c"))})
	want := got{src: second, dst: inner4(1), payload: []byte("c")}
	if diff := cmp.Diff(want, sess.next(t), sameGot); diff != "" {
		t.Error(diff)
	}
}

// TestNAT is the behaviour of RFC 4787 for each filtering: the mapping is the
// same for all destinations, and these may answer.
func TestNAT(t *testing.T) {
	for _, tt := range []struct {
		filtering         conf.Filtering
		other, port, addr bool // who may answer: a stranger, another port, another address
	}{
		{conf.FilteringEndpoint, true, true, true},
		{conf.FilteringAddress, false, true, false},
		{conf.FilteringAddressPort, false, false, false},
	} {
		t.Run(string(tt.filtering), func(t *testing.T) {
			s := testServer(t, func(c *conf.Server) { c.Relay.Filtering = tt.filtering }, nil)
			sess := newFakeSession()
			p := newPeer(s, "laptop", sess)
			a, atA := remoteUDP(t, "127.0.0.1")
			b, _ := remoteUDP(t, "127.0.0.1")
			c, atC := remoteUDP(t, "127.0.0.2")
			p.Deliver([][]byte{makePacket(inner4(7), atA, 0, 0, []byte("x"))})
			_, mapped := read(t, a)
			check := func(who string, from interface {
				WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
			}, want bool,
			) {
				t.Helper()
				if _, err := from.WriteToUDPAddrPort([]byte(who), mapped); err != nil {
					t.Fatal(err)
				}
				if !want {
					sess.quiet(t)
				} else if g := sess.next(t); string(g.payload) != who {
					t.Errorf("got %q from %s", g.payload, who)
				}
			}
			check("itself", a, true)
			check("other port", b, tt.port)
			check("other address", c, tt.addr)
			p.Deliver([][]byte{makePacket(inner4(7), atC, 0, 0, []byte("x"))})
			if _, again := read(t, c); again.Port() != mapped.Port() {
				t.Errorf("mapping %s for one destination, %s for another", mapped, again)
			}
			check("address sent to", c, true)
			check("itself again", a, true)
			// Another inner port is another mapping.
			p.Deliver([][]byte{makePacket(inner4(8), atA, 0, 0, []byte("x"))})
			if _, other := read(t, a); other == mapped {
				t.Error("two inner sources share a port")
			}
		})
	}
}

func TestIdle(t *testing.T) {
	const idle = 300 * time.Millisecond
	s := testServer(t, nil, func(s *Server) {
		s.outlet.relay.Store(&relay{filtering: s.outlet.relay.Load().filtering, socket: s.outlet.relay.Load().socket, idle: idle})
	})
	sess := newFakeSession()
	p := newPeer(s, "laptop", sess)
	remote, at := remoteUDP(t, "127.0.0.1")
	send := func() netip.AddrPort {
		p.Deliver([][]byte{makePacket(inner4(7), at, 0, 0, []byte("x"))})
		_, from := read(t, remote)
		return from
	}
	// Outbound refreshes.
	last := time.Now() // before it is sent
	first := send()
	for end := time.Now().Add(2 * idle); time.Now().Before(end); time.Sleep(idle / 10) {
		now := time.Now()
		from, paused := send(), time.Since(last) > idle/2 // the machine was busy
		if from != first && !paused {
			t.Fatal("the mapping changed while in use")
		}
		first, last = from, now
	}
	// Inbound does not.
	for p.nat.count() > 0 {
		if _, err := remote.WriteToUDPAddrPort([]byte("y"), first); err != nil {
			t.Fatal(err)
		}
		time.Sleep(idle / 20)
		if time.Since(last) > 20*time.Second {
			t.Fatal("inbound keeps the mapping")
		}
	}
	if d := time.Since(last); d < idle/2 {
		t.Errorf("the mapping lived for %v", d)
	}
}

func TestCaps(t *testing.T) {
	const spare = 600 * time.Millisecond // in which even a busy machine does the first part
	limits := func(c *conf.Server) { c.Limits.Mappings, c.Limits.MappingsPerClient = 6, 4 }
	s := testServer(t, limits, func(s *Server) { s.spare = spare })
	p, q := newPeer(s, "laptop", newFakeSession()), newPeer(s, "phone", newFakeSession())
	p2 := newPeer(s, "laptop", newFakeSession()) // the client's second session
	_, at := remoteUDP(t, "127.0.0.1")
	send := func(p *peer, ports ...uint16) {
		for _, port := range ports {
			p.Deliver([][]byte{makePacket(inner4(port), at, 0, 0, []byte("x"))})
		}
	}
	counts := func() []int { return []int{p.nat.count(), p2.nat.count(), q.nat.count()} }
	send(p, 1, 2, 3)
	send(p2, 1, 2)   // one beyond the client's cap
	send(q, 1, 2, 3) // one beyond the total
	if diff := cmp.Diff([]int{3, 1, 2}, counts()); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff(map[string]uint64{"cap": 2}, s.drops.snapshot()); diff != "" {
		t.Fatal(diff)
	}
	time.Sleep(spare / 2)
	send(p, 1, 3) // keeps these
	send(q, 1, 2)
	time.Sleep(spare/2 + spare/4)
	// Only the laptop's two mappings are idle for long enough; the longer idle
	// one of all its sessions gives way.
	send(p, 4)
	if diff := cmp.Diff([]int{3, 1, 2}, counts()); diff != "" {
		t.Fatal(diff)
	}
	key, _ := innerKey(inner4(2))
	p.nat.mu.RLock()
	if p.nat.mappings[key] != nil {
		t.Error("the longest idle mapping stays")
	}
	p.nat.mu.RUnlock()
	send(q, 3) // the total: the laptop's other session has one to spare
	if diff := cmp.Diff([]int{3, 0, 3}, counts()); diff != "" {
		t.Fatal(diff)
	}
}

// TestICMP is REQ-12: a destination that is not there ends nothing.
func TestICMP(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	gone, nowhere := remoteUDP(t, "127.0.0.1")
	gone.Close()
	remote, at := remoteUDP(t, "127.0.0.1")
	for range 5 {
		p.Deliver([][]byte{makePacket(inner4(7), nowhere, 0, 0, []byte("x"))})
		time.Sleep(5 * time.Millisecond)
	}
	p.Deliver([][]byte{makePacket(inner4(7), at, 0, 0, []byte("x")), makePacket(inner4(7), at, 0, 0, []byte("x"))})
	read(t, remote)
	if n := p.nat.count(); n != 1 {
		t.Errorf("%d mappings", n)
	}
}

func TestInnerKey(t *testing.T) {
	for addr, want := range map[string]bool{
		"198.18.0.2:1":              true,
		"198.19.255.255:1":          true,
		"198.18.0.1:1":              false, // the server itself
		"10.0.0.1:1":                false,
		"[fd6d:7073::2]:1":          true,
		"[fd6d:7073::ffff:ffff]:1":  true,
		"[fd6d:7073::1:0:2]:1":      false,
		"[fd6d:7073:1::2]:1":        false,
		"[fd6d:7073::1]:1":          false,
		"[2001:db8::2]:1":           false,
		"[::ffff:198.18.0.2]:1":     false,
		"[fd6d:7073:0:0:1::2]:1":    false,
		"[fd6d:7073::1:0:0:0:2]:80": false,
	} {
		if _, ok := innerKey(netip.MustParseAddrPort(addr)); ok != want {
			t.Errorf("%s: %v", addr, ok)
		}
	}
	seen := make(map[uint64]netip.AddrPort)
	for _, a := range []netip.AddrPort{inner4(1), inner4(2), inner6(1), inner6(2), netip.AddrPortFrom(packet.ClientHost4.Next(), 1), netip.AddrPortFrom(packet.ClientHost6.Next(), 1)} {
		key, _ := innerKey(a)
		if other, ok := seen[key]; ok {
			t.Errorf("%s and %s share a key", a, other)
		}
		seen[key] = a
	}
}
