package mux

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/mpsocks/mpsocks/mux/dialer"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/nat64"
)

// A path of IPv6 alone dials a server of IPv4 alone by its network's translator, and waits for
// nobody where the server has IPv6 too, or the path IPv4.
func TestServerBehindATranslator(t *testing.T) {
	own := func(_ context.Context, way *dialer.Way, host string) ([]netip.Addr, error) {
		if host != nat64.Name || way == nil {
			return nil, errors.New("no such name")
		}
		return []netip.Addr{netip.MustParseAddr("fd64::192.0.0.170")}, nil
	}
	six, four := netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})
	for _, tt := range []struct {
		local   netip.Addr
		servers []string
		want    []string
	}{
		{six, []string{"203.0.113.5:443"}, []string{"[fd64::cb00:7105]:443"}},
		{six, []string{"203.0.113.5:443", "[2001:db8::1]:443"}, []string{"[2001:db8::1]:443"}},
		{four, []string{"203.0.113.5:443"}, []string{"203.0.113.5:443"}},
	} {
		c := newDialClient(t, own, tt.servers...)
		p := &clientPath{c: c, way: Path{Local: tt.local}, path: &engine.Path{}}
		look(p)
		c.slots.Wait() // of the question
		addrs, asking, _ := p.targets()
		var got []string
		for _, a := range addrs {
			got = append(got, a.String())
		}
		if asking || !slices.Equal(got, tt.want) {
			t.Errorf("from %v to %v: dials %v, asking %v", tt.local, tt.servers, got, asking)
		}
		c.servers.learned = []netip.AddrPort{netip.MustParseAddrPort("203.0.113.5:443")}
		if len(addrs) == 1 && len(tt.servers) == 1 && !announced(p, addrs[0]) {
			t.Errorf("%v is not taken for what the server announced", addrs[0])
		}
	}
}

// A path that is in another network by now has that network's translator asked for: when its
// address is another one, and while nothing answers, as names are.
func TestTranslatorIsDoubted(t *testing.T) {
	prefix := make(chan string, 1)
	prefix <- "fd64"
	c := newDialClient(t, func(_ context.Context, _ *dialer.Way, host string) ([]netip.Addr, error) {
		if host != nat64.Name {
			return nil, errors.New("no such name")
		}
		p := <-prefix
		prefix <- p
		return []netip.Addr{netip.MustParseAddr(p + "::192.0.0.170")}, nil
	}, "203.0.113.5:443")
	p := &clientPath{c: c, way: Path{Local: netip.IPv6Loopback()}, path: &engine.Path{}}
	for _, tt := range []struct {
		network string
		learns  func()
	}{
		{"fd64", func() {}},
		{"fd65", c.servers.doubt},
		{"fd66", func() { c.Redial([]string{"lte"}) }},
	} {
		<-prefix
		prefix <- tt.network
		tt.learns()
		look(p)
		c.slots.Wait() // for the question
		addrs, _, _ := p.targets()
		if want := netip.MustParseAddrPort("[" + tt.network + "::cb00:7105]:443"); !slices.Contains(addrs, want) {
			t.Errorf("dials %v in the network of %s", addrs, tt.network)
		}
	}
}
