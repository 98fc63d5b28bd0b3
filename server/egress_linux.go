package server

import (
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ifaceAddrs are the addresses of an interface.
func ifaceAddrs(ifc *net.Interface) (out []ifaceAddr, err error) {
	list, err := netlink.AddrList(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: ifc.Index}}, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // what changed meanwhile is there the next time
		return nil, err
	}
	for _, l := range list {
		if l.IPNet == nil {
			continue
		}
		addr, _ := netip.AddrFromSlice(l.IP)
		a := ifaceAddr{addr: addr.Unmap()}
		if l.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
			a.rank |= tentative
		}
		if l.Flags&unix.IFA_F_DEPRECATED != 0 {
			a.rank |= deprecated
		}
		if a.addr.Is6() && l.Flags&unix.IFA_F_TEMPORARY != 0 { // of IPv4 that bit says that it is a second one
			a.rank |= temporary
		}
		out = append(out, a)
	}
	return out, nil
}
