package paths

import (
	"net/netip"

	"github.com/vishvananda/netlink"
)

// hopTo is the first hop of what a socket sends to an address that is bound to an interface, or to a
// local address, if there is one, with a mark if it is not 0.
func hopTo(name string, local, to netip.Addr, mark uint32) (h hop) {
	routes, err := netlink.RouteGetWithOptions(to.AsSlice(), routeFrom(name, local, mark))
	if err != nil || len(routes) == 0 {
		return h
	}
	h.from, _ = netip.AddrFromSlice(routes[0].Src)
	h.router, _ = netip.AddrFromSlice(routes[0].Gw)
	h.from, h.router = h.from.Unmap(), h.router.Unmap()
	// By an interface without a route the kernel takes every address for a neighbour.
	if h.router.IsValid() || routed(name, local, to, mark) {
		h.link = routes[0].LinkIndex
	}
	return h
}
