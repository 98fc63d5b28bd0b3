package paths

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routed says whether the routing tables lead to an address by an interface, or from a
// local address, what comes from a socket with a mark. Where they cannot be asked it says that they do.
func routed(name string, from, to netip.Addr, mark uint32) bool {
	o := routeFrom(name, from, mark)
	o.FIBMatch = true // or the kernel answers that every address is a neighbour there
	_, err := netlink.RouteGetWithOptions(to.AsSlice(), o)
	return !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.ENETUNREACH)
}

// routeFrom asks for the route of what comes from a socket with a mark that is bound to an interface, or to
// a local address, if there is one.
func routeFrom(name string, from netip.Addr, mark uint32) *netlink.RouteGetOptions {
	o := &netlink.RouteGetOptions{Oif: name, Mark: mark}
	if from.IsValid() {
		o.SrcAddr = from.AsSlice()
	}
	return o
}

// leadsBy is the interface by which the routing tables lead to an address, what comes from a
// socket with a mark: "" where there is none, or where it is this machine itself.
func leadsBy(to netip.Addr, mark uint32) string {
	routes, err := netlink.RouteGetWithOptions(to.AsSlice(), &netlink.RouteGetOptions{Mark: mark})
	if err != nil || len(routes) == 0 {
		return ""
	}
	i, err := net.InterfaceByIndex(routes[0].LinkIndex)
	if err != nil || i.Flags&net.FlagLoopback != 0 {
		return ""
	}
	return i.Name
}

// duplicate is an IPv6 address of an interface that another machine of its network has too (RFC 4862, Section 5.4), where
// there is no other one by which other networks are reached.
func duplicate(name string) (a netip.Addr) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return a
	}
	list, err := netlink.AddrList(l, netlink.FAMILY_V6)
	if err != nil {
		return a
	}
	for _, own := range list {
		switch {
		case own.IP.IsLinkLocalUnicast():
		case own.Flags&unix.IFA_F_DADFAILED == 0:
			return netip.Addr{}
		case !a.IsValid():
			a, _ = netip.AddrFromSlice(own.IP)
		}
	}
	return a
}

// silentRouter is the router by which the routing tables lead to an address, by an interface or from
// a local address if there is one, what comes from a socket with a mark, and that interface: if the
// router was asked for its hardware address (RFC 826; RFC 4861, Section 7.2) and did not answer.
func silentRouter(name string, from, to netip.Addr, mark uint32) (router netip.Addr, by string) {
	routes, err := netlink.RouteGetWithOptions(to.AsSlice(), routeFrom(name, from, mark))
	if err != nil || len(routes) == 0 || len(routes[0].Gw) == 0 {
		return netip.Addr{}, ""
	}
	family := netlink.FAMILY_V6
	if to.Is4() {
		family = netlink.FAMILY_V4
	}
	neighbours, err := netlink.NeighList(routes[0].LinkIndex, family)
	if err != nil {
		return netip.Addr{}, ""
	}
	for _, n := range neighbours {
		if n.IP.Equal(routes[0].Gw) && n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) != 0 {
			if i, err := net.InterfaceByIndex(n.LinkIndex); err == nil {
				router, _ = netip.AddrFromSlice(n.IP)
				return router.Unmap(), i.Name
			}
		}
	}
	return netip.Addr{}, ""
}
