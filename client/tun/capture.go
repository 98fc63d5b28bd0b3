package tun

import (
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// AllNames has the questions to every name server answered by the tunnel's resolver.
func AllNames(netip.Addr) bool { return true }

// captures says whether what goes there is a question that the tunnel's resolver answers in
// the place of another name server.
func captures(d *Device, to netip.AddrPort) bool {
	if to.Port() != packet.ResolverPort || resolver(to) {
		return false
	}
	of := d.capture.Load()
	return of != nil && (*of)(to.Addr())
}

// resolverBeside is the resolver in the tunnel, by the family of another one.
func resolverBeside(to netip.AddrPort) netip.AddrPort {
	host := packet.ServerHost4
	if to.Addr().Is6() {
		host = packet.ServerHost6
	}
	return netip.AddrPortFrom(host, packet.ResolverPort)
}
