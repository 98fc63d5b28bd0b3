package sockdiag

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// TCPOwner returns the user of the socket at the local end of a TCP connection
// of this machine; false if there is none, as of an end on another machine, or the system does
// not tell.
func TCPOwner(local, remote netip.AddrPort) (uid uint32, ok bool) {
	return socketOwner(unix.IPPROTO_TCP, local, remote)
}

// TCPOpen says whether a program still has the socket at the local end of a TCP connection
// of this machine; known is false if there is no such connection here, or the system does
// not tell.
func TCPOpen(local, remote netip.AddrPort) (open, known bool) {
	answer, ok := diagSocket(unix.IPPROTO_TCP, local, remote)
	if !ok {
		// Through loopback addresses there is one: this end's. If that is not found
		// either, the system does not tell.
		_, known = diagSocket(unix.IPPROTO_TCP, remote, local)
		return false, known && local.Addr().IsLoopback()
	}
	return binary.NativeEndian.Uint32(answer[diagInode:]) != 0, true
}

// UDPOwner returns the user of the UDP socket that would get a datagram from
// remote to local; false if there is none or the system does not tell.
func UDPOwner(local, remote netip.AddrPort) (uid uint32, ok bool) {
	// The look-up of one UDP socket takes the ends the other way round.
	return socketOwner(unix.IPPROTO_UDP, remote, local)
}

// A request is a header and struct inet_diag_req_v2, an answer a header and
// struct inet_diag_msg (linux/inet_diag.h, sock_diag(7)).
const (
	diagHeader  = unix.SizeofNlMsghdr
	diagRequest = diagHeader + 56
	diagAnswer  = diagHeader + 72
	// Where the fields are: of the request, and the answer's user.
	diagFamily, diagProtocol, diagStates = diagHeader, diagHeader + 1, diagHeader + 4
	diagPorts, diagSource, diagDest      = diagHeader + 8, diagHeader + 12, diagHeader + 28
	diagCookie                           = diagHeader + 48
	diagState                            = diagHeader + 1
	diagUID                              = diagHeader + 64
	// sockDiagByFamily is SOCK_DIAG_BY_FAMILY.
	sockDiagByFamily = 20
)

// socketOwner returns the user of one socket.
func socketOwner(protocol uint8, src, dst netip.AddrPort) (uid uint32, ok bool) {
	answer, ok := diagSocket(protocol, src, dst)
	if !ok {
		return 0, false
	}
	return binary.NativeEndian.Uint32(answer[diagUID:]), true
}

// diagSocket asks the kernel for one socket, which needs no privilege, and returns
// its answer of diagAnswer bytes.
func diagSocket(protocol uint8, src, dst netip.AddrPort) (answer []byte, ok bool) {
	src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
	dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	if src.Addr().Is4() != dst.Addr().Is4() {
		return nil, false
	}
	var r [diagRequest]byte
	binary.NativeEndian.PutUint32(r[0:], diagRequest)
	binary.NativeEndian.PutUint16(r[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(r[6:], unix.NLM_F_REQUEST)
	r[diagFamily], r[diagProtocol] = unix.AF_INET6, protocol
	if src.Addr().Is4() {
		r[diagFamily] = unix.AF_INET
	}
	binary.NativeEndian.PutUint32(r[diagStates:], ^uint32(0))
	binary.BigEndian.PutUint16(r[diagPorts:], src.Port())
	binary.BigEndian.PutUint16(r[diagPorts+2:], dst.Port())
	copy(r[diagSource:diagDest], src.Addr().AsSlice())
	copy(r[diagDest:], dst.Addr().AsSlice())
	binary.NativeEndian.PutUint64(r[diagCookie:], ^uint64(0)) // INET_DIAG_NOCOOKIE

	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, false
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, r[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, false
	}
	// The kernel has answered before Sendto returned, if it answers at all.
	answer = make([]byte, 1024)
	n, _, err := unix.Recvfrom(fd, answer, unix.MSG_DONTWAIT)
	if err != nil || n < diagAnswer || binary.NativeEndian.Uint16(answer[4:]) != sockDiagByFamily {
		return nil, false
	}
	// Where there is no such connection it is who listens at that port here.
	if protocol == unix.IPPROTO_TCP && answer[diagState] == unix.BPF_TCP_LISTEN {
		return nil, false
	}
	return answer, true
}
