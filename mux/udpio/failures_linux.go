//go:build linux && !mpsocks_portable

package udpio

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An error of ICMP waits in the socket's error queue with the destination of the datagram
// that it is about; the socket is readable, for epoll, until it is taken from there.

const (
	// extendedError is the length of struct sock_extended_err (linux/errqueue.h), behind
	// which the address of who says it stands.
	extendedError = 16
	// failureControl is room for it in a control message, with the largest address.
	failureControl = 128
)

// hearFailures asks for what ICMP says about what the socket sends.
func (c *Conn) hearFailures() {
	if c.v6 {
		_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
		return
	}
	_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
}

// failures takes from a socket's error queue what is there, up to a bound, and tells its
// owner.
func (l *Loop) failures(c *Conn) {
	if !c.acquire() {
		return
	}
	defer c.release()
	var name sockaddr
	var control [failureControl / 8]uint64
	var payload [1]byte // what came back of the datagram does not matter
	iov := unix.Iovec{Base: &payload[0], Len: 1}
	for range maxICMP {
		h := unix.Msghdr{
			Name: (*byte)(unsafe.Pointer(&name)), Namelen: uint32(unsafe.Sizeof(name)),
			Iov: &iov, Iovlen: 1, Control: (*byte)(unsafe.Pointer(&control[0])),
		}
		h.SetControllen(failureControl)
		_, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&h)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return
		}
		f := Failure{}
		if h.Namelen == 0 || !f.parse(unsafe.Slice((*byte)(unsafe.Pointer(&control[0])), failureControl)[:h.Controllen]) {
			continue
		}
		f.To = addrPort(&name, &l.recv.zones)
		if !c.closed() {
			c.failed(c, &f)
		}
	}
}

// parse reads control messages with an error of ICMP; false if there is none. Errors of
// this machine's own are none: whoever sends has been told them.
func (f *Failure) parse(b []byte) bool {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		size := int(h.Len)
		if size < unix.CmsgLen(0) || size > len(b) {
			return false
		}
		data := b[unix.CmsgLen(0):size]
		if h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR || h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR {
			return f.extended(data)
		}
		b = b[min(unix.CmsgSpace(size-unix.CmsgLen(0)), len(b)):]
	}
	return false
}

// extended reads a struct sock_extended_err with the address behind it.
func (f *Failure) extended(b []byte) bool {
	if len(b) < extendedError || b[4] != unix.SO_EE_ORIGIN_ICMP && b[4] != unix.SO_EE_ORIGIN_ICMP6 {
		return false
	}
	f.Type, f.Code = b[5], b[6]
	from := b[extendedError:]
	switch {
	case len(from) >= unix.SizeofSockaddrInet4 && binary.NativeEndian.Uint16(from) == unix.AF_INET:
		f.From = netip.AddrFrom4([4]byte(from[4:]))
	case len(from) >= unix.SizeofSockaddrInet6 && binary.NativeEndian.Uint16(from) == unix.AF_INET6:
		f.From = netip.AddrFrom16([16]byte(from[8:]))
	default:
		return false
	}
	return true
}
