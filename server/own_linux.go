package server

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// localRoutes returns what the kernel takes for this machine's beside the addresses of its
// interfaces: whole prefixes that are routed to it (ip-route(8), type local), as is done to
// serve or to send from any address of them, and the prefix of an address at the loopback
// interface.
func localRoutes() ([]netip.Prefix, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	// Of a kernel that does not look what is asked for (before 4.20) all routes would come,
	// which may be a million.
	if err := h.SetStrictCheck(true); err != nil {
		return nil, err
	}
	var all []netip.Prefix
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
		if err != nil && !errors.Is(err, unix.ENOENT) { // a family may have no such table
			return nil, err
		}
		for _, r := range routes {
			addr, _ := netip.AddrFromSlice(r.Dst.IP)
			if bits, _ := r.Dst.Mask.Size(); bits > 0 { // what leads everything here is no prefix of ours
				all = append(all, netip.PrefixFrom(addr, bits))
			}
		}
	}
	return all, nil
}
