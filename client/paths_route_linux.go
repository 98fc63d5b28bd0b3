package client

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
)

// routed says whether the routing tables lead to an address by an interface, or from a
// local address, what comes from a socket with a mark. Where they cannot be asked it says that they do.
func routed(name string, from, to netip.Addr, mark uint32) bool {
	// Without fibmatch the kernel answers that every address is a neighbour there.
	o := &netlink.RouteGetOptions{Oif: name, FIBMatch: true, Mark: mark}
	if from.IsValid() {
		o.SrcAddr = from.AsSlice()
	}
	_, err := netlink.RouteGetWithOptions(to.AsSlice(), o)
	return !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.ENETUNREACH)
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
