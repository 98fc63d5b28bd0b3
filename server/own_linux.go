package server

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// localRoutes returns what the kernel takes for this machine's beside the addresses of its
// interfaces: whole prefixes that are routed to it (ip-route(8), type local), as is done to
// serve or to send from any address of them, and the prefix of an address at the loopback
// interface.
func localRoutes() ([]netip.Prefix, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	// Of a kernel that does not look what is asked for (before 4.20) all routes would come,
	// which may be a million.
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err != nil {
		return nil, err
	}
	var all []netip.Prefix
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if all, err = appendLocalRoutes(all, fd, family); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// appendLocalRoutes asks for those of one family: a header and struct rtmsg (rtnetlink(7)).
func appendLocalRoutes(all []netip.Prefix, fd int, family uint8) ([]netip.Prefix, error) {
	const length = unix.SizeofNlMsghdr + unix.SizeofRtMsg
	var r [length]byte
	binary.NativeEndian.PutUint32(r[0:], length)
	binary.NativeEndian.PutUint16(r[4:], unix.RTM_GETROUTE)
	binary.NativeEndian.PutUint16(r[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	ask := r[unix.SizeofNlMsghdr:]
	ask[0], ask[4], ask[7] = family, unix.RT_TABLE_LOCAL, unix.RTN_LOCAL
	if err := unix.Sendto(fd, r[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	for b := make([]byte, 32<<10); ; {
		// What there is is there when Sendto has returned, and more when that was read.
		n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
		if err != nil {
			return nil, err
		}
		messages, err := syscall.ParseNetlinkMessage(b[:n])
		if err != nil {
			return nil, err
		}
		for i := range messages {
			switch m := &messages[i]; m.Header.Type {
			case unix.NLMSG_DONE:
				return all, nil
			case unix.NLMSG_ERROR: // no such table, for one
				return all, nil
			case unix.RTM_NEWROUTE:
				if p, ok := localRoute(m); ok {
					all = append(all, p)
				}
			}
		}
	}
}

// localRoute reads one.
func localRoute(m *syscall.NetlinkMessage) (netip.Prefix, bool) {
	if len(m.Data) < unix.SizeofRtMsg || m.Data[7] != unix.RTN_LOCAL {
		return netip.Prefix{}, false
	}
	attrs, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return netip.Prefix{}, false
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.RTA_DST {
			addr, ok := netip.AddrFromSlice(a.Value)
			return netip.PrefixFrom(addr, int(m.Data[1])), ok
		}
	}
	return netip.Prefix{}, false
}
