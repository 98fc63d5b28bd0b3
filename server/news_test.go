package server

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// news is the packet that tells of ended ports, from the client's port 9.
func news(family netip.AddrPort, ended ...netip.AddrPort) []byte {
	var list []byte
	for _, e := range ended {
		list = binary.BigEndian.AppendUint16(append(list, e.Addr().AsSlice()...), e.Port())
	}
	src, dst := packet.ClientHost4, packet.ServerHost4
	if family.Addr().Is6() {
		src, dst = packet.ClientHost6, packet.ServerHost6
	}
	return makePacket(netip.AddrPortFrom(src, packet.DiscardPort), netip.AddrPortFrom(dst, packet.DiscardPort), 0, 0, list)
}

// TestEndedPortsMakeRoom fills the client's table; what the client has ended
// gives way at once, though none of it is idle.
func TestEndedPortsMakeRoom(t *testing.T) {
	for _, tt := range []struct {
		host  string
		inner func(uint16) netip.AddrPort
	}{{"127.0.0.1", inner4}, {"::1", inner6}} {
		t.Run(tt.host, func(t *testing.T) {
			s := testServer(t, func(c *conf.Server) { c.Limits.MappingsPerClient = 4 }, nil)
			p := newPeer(s, "laptop", newFakeSession())
			remote, at := remoteUDP(t, tt.host)
			send := func(port uint16) []byte { return makePacket(tt.inner(port), at, 0, 0, []byte{byte(port)}) }
			for round := range uint16(5) {
				first := 10 * round
				p.Deliver([][]byte{send(first), send(first + 1), send(first + 2), send(first + 3)})
				for range 4 {
					read(t, remote)
				}
				p.Deliver([][]byte{news(tt.inner(0), tt.inner(first), tt.inner(first+1)), news(tt.inner(0), tt.inner(first+2), tt.inner(first+3))})
				if n := p.nat.count(); n != 0 {
					t.Fatalf("%d mappings are left", n)
				}
			}
			if diff := cmp.Diff(map[string]uint64{}, s.drops.snapshot()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestEndedPortIsFresh uses a port again after its end, in the same batch as
// its last datagram and later.
func TestEndedPortIsFresh(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	remote, at := remoteUDP(t, "127.0.0.1")
	pkt := makePacket(inner4(7), at, 0, 0, []byte("x"))
	p.Deliver([][]byte{pkt})
	_, first := read(t, remote)
	p.Deliver([][]byte{pkt, news(inner4(0), inner4(7))})
	if _, again := read(t, remote); again != first {
		t.Errorf("the last datagram left from %s, not from %s", again, first)
	}
	if n := p.nat.count(); n != 0 {
		t.Fatalf("%d mappings after the end", n)
	}
	p.Deliver([][]byte{pkt})
	read(t, remote)
	if n := p.nat.count(); n != 1 {
		t.Errorf("%d mappings", n)
	}
}

// TestEndedIsTheClientsOwn has a client name ports that it must not end, and
// send what is no news at all.
func TestEndedIsTheClientsOwn(t *testing.T) {
	s := testServer(t, nil, nil)
	p, q := newPeer(s, "laptop", newFakeSession()), newPeer(s, "phone", newFakeSession())
	_, at := remoteUDP(t, "127.0.0.1")
	p.Deliver([][]byte{makePacket(inner4(7), at, 0, 0, nil), makePacket(inner4(8), at, 0, 0, nil)})
	for _, pkt := range [][]byte{
		news(inner4(0), inner4(7)),                               // the other client's
		news(inner4(0), inner4(9)),                               // never used
		news(inner4(0), netip.MustParseAddrPort("10.0.0.1:7")),   // nobody's
		news(inner4(0), netip.MustParseAddrPort("198.18.0.1:7")), // the server's
		news(inner4(0)),            // an empty list
		news(inner4(0), inner6(7)), // the other family's
		makePacket(netip.MustParseAddrPort("10.0.0.1:9"), discard4, 0, 0, []byte("abcdef")),  // a foreign source
		makePacket(inner4(9), netip.AddrPortFrom(packet.ServerHost4, 10), 0, 0, []byte("x")), // another port
	} {
		q.Deliver([][]byte{pkt})
	}
	p.Deliver([][]byte{news(inner4(0), inner4(1), inner4(8), inner4(8))})
	if n, m := p.nat.count(), q.nat.count(); n != 1 || m != 0 {
		t.Errorf("%d and %d mappings, want 1 and 0", n, m)
	}
	want := map[string]uint64{"source": 4, "service": 2}
	if diff := cmp.Diff(want, s.drops.snapshot()); diff != "" {
		t.Error(diff)
	}
}

var discard4 = netip.AddrPortFrom(packet.ServerHost4, packet.DiscardPort)

// TestOpenPortsKeepTheirMappings has the client tell of ports that send nothing:
// those are not idle, and others are not touched, nor made.
func TestOpenPortsKeepTheirMappings(t *testing.T) {
	s := testServer(t, nil, nil)
	p, q := newPeer(s, "laptop", newFakeSession()), newPeer(s, "phone", newFakeSession())
	_, at := remoteUDP(t, "127.0.0.1")
	p.Deliver([][]byte{makePacket(inner4(7), at, 0, 0, nil), makePacket(inner4(8), at, 0, 0, nil)})
	alive := func(from netip.AddrPort, ports ...netip.AddrPort) []byte {
		var list []byte
		for _, a := range ports {
			list = binary.BigEndian.AppendUint16(append(list, a.Addr().AsSlice()...), a.Port())
		}
		return makePacket(from, netip.AddrPortFrom(packet.ServerHost4, packet.AlivePort), 0, 0, list)
	}
	own := netip.AddrPortFrom(packet.ClientHost4, packet.DiscardPort)
	before := s.now()
	q.Deliver([][]byte{alive(own, inner4(8))})          // not its own
	p.Deliver([][]byte{alive(inner4(4000), inner4(8))}) // an application says so
	p.nat.expire(before)
	if n := p.nat.count(); n != 0 {
		t.Fatalf("%d mappings are kept", n)
	}
	p.Deliver([][]byte{makePacket(inner4(7), at, 0, 0, nil), makePacket(inner4(8), at, 0, 0, nil)})
	before = s.now()
	p.Deliver([][]byte{alive(own, inner4(8), inner4(9))})
	p.nat.expire(before)
	if n, key := p.nat.count(), func() uint64 { k, _ := innerKey(inner4(8)); return k }(); n != 1 || p.nat.mappings[key] == nil {
		t.Errorf("%d mappings are kept", n)
	}
}
