package client

import (
	"net/netip"

	"github.com/vishvananda/netlink"
)

// sourceBy is the local address that the system chooses for what a socket sends to an
// address by an interface, with a mark if it is not 0: none that is deprecated, as long as
// there is another one (RFC 6724, Section 5). It is invalid where the system does not tell.
func sourceBy(name string, to netip.Addr, mark uint32) netip.Addr {
	routes, err := netlink.RouteGetWithOptions(to.AsSlice(), &netlink.RouteGetOptions{Oif: name, Mark: mark})
	if err != nil || len(routes) == 0 {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(routes[0].Src)
	return a.Unmap()
}
