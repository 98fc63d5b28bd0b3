package server

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/server/names"
	"github.com/mpsocks/mpsocks/server/names/namestest"
)

// sourcesOf are sources of names that are these name servers alone.
func sourcesOf(at ...netip.AddrPort) names.Sources {
	return names.Sources{
		Upstreams: func() names.Upstreams { return names.Upstreams{Servers: at, Ndots: 1} },
		Hosts:     namestest.None, System: namestest.None,
	}
}

// askOnly has a server's names asked of these name servers alone.
func askOnly(s *Server, at ...netip.AddrPort) {
	s.resolver = names.New(s.ctx, names.Config{All: 64, Each: 64, Sources: sourcesOf(at...)})
}

// askSystem has them asked as where there are no name servers.
func askSystem(s *Server, system names.Lookup) {
	from := sourcesOf()
	from.System = system
	s.resolver = names.New(s.ctx, names.Config{All: 64, Each: 64, Sources: from})
}

// TestResolverInTunnel asks as the client does, beyond the caps.
func TestResolverInTunnel(t *testing.T) {
	release := make(chan struct{})
	at := namestest.Server(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		<-release
		return namestest.AddA(m, 60, "192.0.2.1")
	})
	s := testServer(t, nil, func(s *Server) {
		s.resolver = names.New(s.ctx, names.Config{All: 4, Each: 2, Sources: sourcesOf(at)})
	})
	sess := newFakeSession()
	p := newPeer(s, "laptop", sess)
	to := netip.AddrPortFrom(packet.ServerHost4, packet.ResolverPort)
	for i := range 3 {
		p.Deliver([][]byte{makePacket(inner4(uint16(10+i)), to, 0, 0, namestest.Question("example.com.", dnsmessage.TypeA))})
	}
	g := sess.next(t)
	if m := namestest.Unpack(t, g.payload); m.RCode != dnsmessage.RCodeServerFailure || g.dst != inner4(12) || g.src != to {
		t.Errorf("beyond the cap: %+v", g)
	}
	close(release)
	dsts := map[netip.AddrPort]int{}
	for range 2 {
		g := sess.next(t)
		if m := namestest.Unpack(t, g.payload); m.RCode != 0 || len(m.Answers) != 1 {
			t.Errorf("%v", m.GoString())
		}
		dsts[g.dst]++
	}
	if diff := cmp.Diff(map[netip.AddrPort]int{inner4(10): 1, inner4(11): 1}, dsts, sameGot); diff != "" {
		t.Error(diff)
	}
	eventually(t, "queries end", func() bool { return s.resolver.Held() == 0 })
	if n := sess.turns.Load(); n != 2 {
		t.Errorf("two answers were sent in %d turns of the client", n)
	}
	p.Deliver([][]byte{makePacket(inner4(1), to, 0, 0, []byte("short"))})
	if diff := cmp.Diff(map[string]uint64{"queries": 1, "query": 1}, s.drops.snapshot()); diff != "" {
		t.Error(diff)
	}
}
