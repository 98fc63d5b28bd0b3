package mux

import (
	"net/netip"
	"slices"

	"github.com/mpsocks/mpsocks/mux/dialer"
	"github.com/mpsocks/mpsocks/mux/nat64"
)

// A path that has IPv6 alone reaches a server that is known by IPv4 alone by its network's
// translator: see dialer.Translated.

// look notes, before a race, whether the path has IPv6 alone, and has the network asked for
// its translator's prefix then.
func look(p *clientPath) {
	c, way := p.c, p.dialWay()
	six := way.Lacks4()
	c.mu.Lock()
	p.six = six
	c.mu.Unlock()
	if six {
		c.servers.names.Ask(c.running(), c.slots.Go, way, nat64.Name)
	}
}

// translated are the addresses by which the path reaches IPv4 ones, none if it needs no
// translator. asking says that the prefix is being asked for.
func translated(p *clientPath, four []netip.AddrPort) (addrs []netip.AddrPort, asking bool) {
	p.c.mu.Lock()
	six := p.six
	p.c.mu.Unlock()
	if !six || len(four) == 0 {
		return nil, false
	}
	known, asking, _ := p.c.servers.names.Known(nat64.Name, p.dialWay())
	if asking {
		return nil, true
	}
	return dialer.Translated(known, four), false
}

// announced says that the server has announced an address, or one that this leads to.
func announced(p *clientPath, a netip.AddrPort) bool {
	list := p.c.servers.announced()
	if slices.Contains(list, a) {
		return true
	}
	by, _ := translated(p, list)
	return slices.Contains(by, a)
}
