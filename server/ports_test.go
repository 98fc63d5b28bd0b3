package server

import (
	"net/netip"
	"testing"

	"github.com/mpsocks/mpsocks/conf"
)

// Where files and caps are plenty, ports are not: whoever opens mappings without end leaves
// some to others, of each family, and where there are none left the longest idle give way.
func TestPortsAreShared(t *testing.T) {
	s := testServer(t, func(c *conf.Server) { c.Limits.Mappings, c.Limits.MappingsPerClient = 0, 0 }, func(s *Server) {
		s.sockets.most = 0
		s.ports.open(64)
	})
	_, at := remoteUDP(t, "127.0.0.1")
	send := func(p *peer, n int) (opened int) {
		for i := range n {
			p.Deliver([][]byte{makePacket(inner4(uint16(4000+i)), at, 0, uint32(i), nil)})
		}
		return p.nat.count()
	}
	first, second, third := newPeer(s, "first", newFakeSession()), newPeer(s, "second", newFakeSession()), newPeer(s, "third", newFakeSession())
	for _, greedy := range []struct {
		peer *peer
		want int
	}{{first, 28}, {second, 14}} { // of 56
		if n := send(greedy.peer, 100); n != greedy.want {
			t.Errorf("%s has %d ports of 56, want %d", greedy.peer.client.name, n, greedy.want)
		}
	}
	if n := send(third, 3); n != 3 {
		t.Errorf("an honest client has %d of 3 ports", n)
	}
	inner6 := netip.AddrPortFrom(netip.MustParseAddr("fd6d:7073::2"), 4000)
	key, _ := innerKey(inner6)
	if _, why := first.nat.open(key, inner6, s.now()); why != dropNone && why != dropSocket { // there may be no IPv6 here
		t.Errorf("of the other family there are enough: %v", why)
	}
	for i := range 28 {
		k, _ := innerKey(inner4(uint16(4000 + i)))
		first.nat.mappings[k].sent.Store(-int64(2 * s.spare))
	}
	first.client.ports[0].barren.Store(0) // as if the time had passed
	inner := inner4(9000)
	key, _ = innerKey(inner)
	why := dropCap
	for tries := 0; why == dropCap && tries < 20; tries++ { // a few give way each time, until it has no more than its share of now
		_, why = first.nat.open(key, inner, s.now())
	}
	if why != dropNone {
		t.Errorf("idle ones of its own do not give way: %v", why)
	}
	second.Closed(nil)
	if n, had := s.ports[0].count(), first.nat.count()+third.nat.count(); n > had || n < had-1 { // one may be of IPv6
		t.Errorf("%d ports are held by two clients with %d mappings", n, had)
	}
}

// How many there are is known, and mappings do not have them all.
func TestPortsOfTheSystem(t *testing.T) {
	n := systemPorts()
	var p ports
	if p.open(n); n < 1 || n > 1<<16 || p[0].most >= n || p[1].most >= n {
		t.Errorf("of %d ports mappings have %d and %d", n, p[0].most, p[1].most)
	}
}
