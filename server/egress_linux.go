package server

import (
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// ifaceAddrs are the addresses of an interface, from a struct ifaddrmsg and attributes each
// (rtnetlink(7)).
func ifaceAddrs(ifc *net.Interface) (out []ifaceAddr, err error) {
	rib, err := syscall.NetlinkRIB(syscall.RTM_GETADDR, syscall.AF_UNSPEC)
	if err != nil {
		return nil, err
	}
	messages, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != syscall.RTM_NEWADDR || len(m.Data) < syscall.SizeofIfAddrmsg || binary.NativeEndian.Uint32(m.Data[4:]) != uint32(ifc.Index) {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			return nil, err
		}
		var a ifaceAddr
		flags := uint32(m.Data[2])
		for _, attr := range attrs {
			switch attr.Attr.Type {
			case unix.IFA_ADDRESS: // the other end's, where there is a local one
				if !a.addr.IsValid() {
					a.addr, _ = netip.AddrFromSlice(attr.Value)
				}
			case unix.IFA_LOCAL:
				a.addr, _ = netip.AddrFromSlice(attr.Value)
			case unix.IFA_FLAGS:
				if len(attr.Value) == 4 {
					flags = binary.NativeEndian.Uint32(attr.Value)
				}
			}
		}
		if !a.addr.IsValid() {
			continue
		}
		if flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
			a.rank |= tentative
		}
		if flags&unix.IFA_F_DEPRECATED != 0 {
			a.rank |= deprecated
		}
		if a.addr.Is6() && flags&unix.IFA_F_TEMPORARY != 0 { // of IPv4 that bit says that it is a second one
			a.rank |= temporary
		}
		out = append(out, a)
	}
	return out, nil
}
