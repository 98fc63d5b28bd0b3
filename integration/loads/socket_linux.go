package loads

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is a blocking UDP socket read and written in batches, with the kernel's receive time stamps. One goroutine
// may send and one may receive.
type socket struct {
	fd     int
	prefix []byte // before each payload: the SOCKS header, or nothing
}

const (
	batch = 64
	// socketBuffer holds 100 ms of 300 Mbit/s, with the kernel's overhead of small packets.
	socketBuffer = 16 << 20
	// receiveTimeout is how often a receiver looks whether it should stop.
	receiveTimeout = 50_000 // microseconds
)

// openSocket makes a socket, bound or connected or both. It must be called in the right Place.
func openSocket(bind, connect netip.AddrPort) (*socket, error) {
	family := unix.AF_INET
	if bind.Addr().Is6() || connect.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("udp socket: %w", err)
	}
	s := &socket{fd: fd}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer)
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: receiveTimeout})
	}
	if err == nil && bind.IsValid() {
		err = unix.Bind(fd, sockaddr(bind))
	}
	if err == nil && connect.IsValid() {
		err = unix.Connect(fd, sockaddr(connect))
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("udp socket %v to %v: %w", bind, connect, err)
	}
	return s, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func (s *socket) close() { unix.Close(s.fd) }

// mmsghdr is struct mmsghdr of 64-bit Linux.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   uint32
}

// name is any socket address as the kernel writes it: an echo gives it back unread.
type name [unix.SizeofSockaddrInet6]byte

// messages is room for one batch, in one direction.
type messages struct {
	hdrs  [batch]mmsghdr
	iovs  [batch][2]unix.Iovec
	bufs  [batch][]byte
	names [batch]name
	oobs  [batch][64]byte
}

// newMessages makes room for payloads up to the size.
func newMessages(size int) *messages {
	m := &messages{}
	for i := range m.bufs {
		m.bufs[i] = make([]byte, size)
	}
	return m
}

// receive waits for datagrams and returns how many came: 0 when the wait was in vain.
func (s *socket) receive(m *messages) (int, error) {
	for i := range m.hdrs {
		h := &m.hdrs[i].hdr
		m.iovs[i][0].Base = &m.bufs[i][0]
		m.iovs[i][0].SetLen(len(m.bufs[i]))
		h.Iov = &m.iovs[i][0]
		h.SetIovlen(1)
		h.Name, h.Namelen = &m.names[i][0], uint32(len(m.names[i]))
		h.Control = &m.oobs[i][0]
		h.SetControllen(len(m.oobs[i]))
		h.Flags = 0
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&m.hdrs[0])), batch, unix.MSG_WAITFORONE, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR, unix.ECONNREFUSED, unix.ENETUNREACH, unix.EHOSTUNREACH:
		return 0, nil // an ICMP error of an earlier datagram is the loss of that datagram, no more
	}
	return 0, fmt.Errorf("recvmmsg: %w", errno)
}

// at is the i-th received datagram without the SOCKS header, and when the kernel had it.
func (s *socket) at(m *messages, i int) (payload, int64) {
	b := m.bufs[i][:m.hdrs[i].n]
	if s.prefix != nil {
		off := datagramOffset(b)
		if off < 0 {
			return nil, 0
		}
		b = b[off:]
	}
	// One control message is asked for: a cmsghdr of 16 bytes, then struct timespec.
	oob := m.oobs[i][:m.hdrs[i].hdr.Controllen]
	if len(oob) < 32 {
		return b, wallClock()
	}
	ts := (*unix.Timespec)(unsafe.Pointer(&oob[16]))
	return b, ts.Nano()
}

// send writes the first n payloads, each with the prefix before it, and to the names when the socket is not connected.
// What the kernel refuses is lost.
func (s *socket) send(m *messages, lens []int, named bool) {
	for i, l := range lens {
		h := &m.hdrs[i].hdr
		*h = unix.Msghdr{}
		v := &m.iovs[i]
		k := 0
		if len(s.prefix) > 0 {
			v[0].Base = &s.prefix[0]
			v[0].SetLen(len(s.prefix))
			k = 1
		}
		v[k].Base = &m.bufs[i][0]
		v[k].SetLen(l)
		h.Iov = &v[0]
		h.SetIovlen(k + 1)
		if named {
			h.Name, h.Namelen = &m.names[i][0], nameLen(&m.names[i])
		}
	}
	for from := 0; from < len(lens); {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&m.hdrs[from])), uintptr(len(lens)-from), 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			n = 1
		}
		from += int(n)
	}
}

func nameLen(n *name) uint32 {
	if *(*uint16)(unsafe.Pointer(n)) == unix.AF_INET {
		return unix.SizeofSockaddrInet4
	}
	return unix.SizeofSockaddrInet6
}

// wallClock is the time base of the payloads and of the kernel's time stamps.
func wallClock() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &ts)
	return ts.Nano()
}
