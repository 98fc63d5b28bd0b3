package server

import "net/netip"

// A mapping's socket has the port that the system chooses, one for each address family, of
// some tens of thousands that all programs of the machine have together: this one's
// questions to name servers, too. Files there may be a million.

// dynamicPorts is how many there are where the system does not say it (RFC 6335, Section 6).
const dynamicPorts = 1 << 14

// portsLeft is what part of them is left to others.
const portsLeft = 8

// ports are those of mappings, of IPv4 and of IPv6.
type ports [2]sockets

// open has so many of either family for all programs.
func (p *ports) open(n int) {
	for i := range p {
		p[i].most, p[i].one = n-n/portsLeft, true
	}
}

// familyOf is the place of an address's family in ports.
func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// A pool is what mappings need one of each, and what one client has of it.
type pool struct {
	all *sockets
	own *holding
}

func (p pool) full() bool { return p.all.full(p.own, mappingSocket) }
func (p pool) take() bool { return p.all.take(p.own, mappingSocket) }
func (p pool) give()      { p.all.give(p.own, mappingSocket) }

// filesOf and portsOf are the pools of a mapping of a peer's, ports by the family of its inner
// address.
func filesOf(p *peer) pool { return pool{&p.server.sockets, &p.client.sockets} }

func portsOf(p *peer, inner netip.Addr) pool {
	f := familyOf(inner)
	return pool{&p.server.ports[f], &p.client.ports[f]}
}
