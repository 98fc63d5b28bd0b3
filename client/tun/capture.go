package tun

import (
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// asksNames says whether what goes there is a question to a name server, of which the
// tunnel's own is left alone.
func asksNames(to netip.AddrPort) bool {
	return to.Port() == packet.ResolverPort && !resolver(to)
}

// resolverBeside is the resolver in the tunnel, by the family of another one.
func resolverBeside(to netip.AddrPort) netip.AddrPort {
	host := packet.ServerHost4
	if to.Addr().Is6() {
		host = packet.ServerHost6
	}
	return netip.AddrPortFrom(host, packet.ResolverPort)
}
