package paths

import (
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Forks tells the interfaces of the next hops by which the routing tables lead to an address at once (ECMP), what comes
// from a socket with a mark: of those that have a carrier, and none where there is one hop alone.
func Forks(mark uint32) func(to netip.Addr) []string {
	return func(to netip.Addr) (names []string) {
		routes, err := netlink.RouteGetWithOptions(to.AsSlice(), &netlink.RouteGetOptions{Mark: mark, FIBMatch: true})
		if err != nil || len(routes) == 0 || len(routes[0].MultiPath) < 2 {
			return nil
		}
		for _, hop := range routes[0].MultiPath {
			if hop.Flags&(unix.RTNH_F_DEAD|unix.RTNH_F_LINKDOWN) != 0 {
				continue
			}
			if l, err := netlink.LinkByIndex(hop.LinkIndex); err == nil && !slices.Contains(names, l.Attrs().Name) {
				names = append(names, l.Attrs().Name)
			}
		}
		return names
	}
}
