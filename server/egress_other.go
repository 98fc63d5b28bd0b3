//go:build !linux

package server

import (
	"net"
	"net/netip"
)

// ifaceAddrs are the addresses of an interface: here nobody tells of what kind they are.
func ifaceAddrs(ifc *net.Interface) (out []ifaceAddr, err error) {
	list, err := ifc.Addrs()
	for _, a := range list {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, ifaceAddr{addr: prefix.Addr().WithZone("").Unmap()})
		}
	}
	return out, err
}
