//go:build linux

package mmsg

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// bufferBytes is asked for on every socket: the usual upper bound an
// unprivileged program may have, so that a burst waits instead of being lost.
const bufferBytes = 4 << 20

// Listen opens a UDP socket on an IPv4 address; port 0 lets the kernel choose.
// A blocking socket gives up a wait after timeout (zero: never).
func Listen(local netip.AddrPort, blocking bool, timeout time.Duration) (fd int, bound netip.AddrPort, err error) {
	kind := unix.SOCK_DGRAM | unix.SOCK_CLOEXEC
	if !blocking {
		kind |= unix.SOCK_NONBLOCK
	}
	fd, err = unix.Socket(unix.AF_INET, kind, 0)
	if err != nil {
		return -1, bound, fmt.Errorf("udp socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bufferBytes) // the kernel grants what it may
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bufferBytes)
	if blocking && timeout > 0 {
		tv := unix.NsecToTimeval(int64(timeout))
		if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return -1, bound, fmt.Errorf("receive timeout: %w", err)
		}
	}
	if err = unix.Bind(fd, sockaddr(local)); err != nil {
		return -1, bound, fmt.Errorf("bind %s: %w", local, err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return -1, bound, fmt.Errorf("getsockname: %w", err)
	}
	v4 := name.(*unix.SockaddrInet4)
	return fd, netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), uint16(v4.Port)), nil
}

// Connect fixes the socket's peer: the kernel filters others out and sends
// without looking the route up again.
func Connect(fd int, peer netip.AddrPort) error {
	if err := unix.Connect(fd, sockaddr(peer)); err != nil {
		return fmt.Errorf("connect %s: %w", peer, err)
	}
	return nil
}

// DialTCP opens a blocking TCP connection from an address of its own, without
// the runtime's poller: the cheapest connection a short-lived worker can have.
// Waits end after timeout.
func DialTCP(local netip.Addr, peer netip.AddrPort, timeout time.Duration) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("tcp socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	tv := unix.NsecToTimeval(int64(timeout))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	// The port is chosen at connect, by the four-tuple: thousands of closed
	// connections may wait beside it.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(local, 0))); err != nil {
		return -1, fmt.Errorf("bind %s: %w", local, err)
	}
	if err = unix.Connect(fd, sockaddr(peer)); err != nil {
		return -1, fmt.Errorf("connect %s: %w", peer, err)
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// A Poller waits for many sockets, level-triggered.
type Poller struct {
	fd     int
	events [256]unix.EpollEvent
}

// NewPoller returns an empty Poller; Close ends it.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &Poller{fd: fd}, nil
}

// Add starts watching fd for input (and for output too when asked); id comes
// back from Wait. Safe beside a Wait in another goroutine.
func (p *Poller) Add(fd int, id int32) error { return p.control(unix.EPOLL_CTL_ADD, fd, id, false) }

// Output switches waiting for room to write on or off.
func (p *Poller) Output(fd int, id int32, on bool) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, id, on)
}

func (p *Poller) control(op, fd int, id int32, output bool) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: id}
	if output {
		e.Events |= unix.EPOLLOUT
	}
	return unix.EpollCtl(p.fd, op, fd, &e)
}

// Wait returns how many sockets are ready, none after the timeout; a negative
// one waits for ever.
func (p *Poller) Wait(timeout time.Duration) (int, error) {
	milliseconds := int(timeout / time.Millisecond)
	if timeout < 0 {
		milliseconds = -1
	}
	n, err := unix.EpollWait(p.fd, p.events[:], milliseconds)
	if err == unix.EINTR {
		return 0, nil
	}
	return n, err
}

// Ready returns the id of the i-th ready socket.
func (p *Poller) Ready(i int) int32 {
	return p.events[i].Fd
}

// Close releases the kernel's object; the sockets stay open.
func (p *Poller) Close() error { return unix.Close(p.fd) }
