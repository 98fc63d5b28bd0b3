//go:build !mpsocks_portable

package tcpio

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/zones"
)

// A Listener accepts connections.
type Listener struct {
	file *os.File // owns the descriptor
	raw  syscall.RawConn
	at   net.Addr

	// Of Accept.
	step func(fd uintptr) bool
	fd   int
	e    unix.Errno
	from sockaddr
}

// Listen takes a listener of package net's over, with the options that it has. Those that it accepts have
// no others, but that they do not wait to send (TCP_NODELAY).
func Listen(ln *net.TCPListener) (*Listener, error) {
	defer ln.Close()
	f, err := ln.File()
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { setInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) }) // they inherit it
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	l := &Listener{file: f, raw: raw, at: ln.Addr()}
	l.step = l.now
	return l, nil
}

// now accepts one, if there is one.
func (l *Listener) now(fd uintptr) bool {
	for {
		size := uint32(unsafe.Sizeof(l.from))
		n, _, e := unix.RawSyscall6(unix.SYS_ACCEPT4, fd, uintptr(unsafe.Pointer(&l.from)), uintptr(unsafe.Pointer(&size)),
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch e {
		case unix.EAGAIN:
			return false
		case unix.EINTR, unix.ECONNABORTED: // it has gone while it waited
			continue
		}
		l.fd, l.e = int(n), e
		return true
	}
}

// Accept waits for a connection. It is one caller's at a time, and so is AcceptFrom.
func (l *Listener) Accept() (Socket, error) {
	err := l.raw.Read(l.step)
	if err == nil && closing.helps(l.e) {
		err = l.raw.Read(l.step)
	}
	return l.accepted(err)
}

// acceptMost is how many connections are looked at in one step.
const acceptMost = 8

// AcceptFrom waits for a connection from an address that may come in. The others are reset as they come, at three
// calls each, and Go's poller hears of none of them. What is done with those that are there goes in steps, which
// never wait and say whether there may be more; turn calls them.
func (l *Listener) AcceptFrom(may func(from netip.Addr) bool, turn func(step func() (more bool))) (Socket, error) {
	for {
		err, in := l.raw.Read(l.step), true
		if err == nil && l.e == 0 {
			turn(func() (more bool) {
				if in = l.looked(may); in {
					return true
				}
				err = l.raw.Read(func(fd uintptr) bool {
					for n := 1; n < acceptMost && !in; n++ {
						if more = l.now(fd); !more {
							break
						}
						in = l.e != 0 || l.looked(may)
					}
					return true
				})
				return more
			})
		}
		switch {
		case err == nil && closing.helps(l.e):
		case err != nil || in:
			return l.accepted(err)
		}
	}
}

// looked says whether the one that was accepted may come in, and resets it if not.
func (l *Listener) looked(may func(from netip.Addr) bool) bool {
	if may(l.from.addr().Addr()) {
		return true
	}
	reset := unix.Linger{Onoff: 1} // nothing of it stays
	set(uintptr(l.fd), unix.SOL_SOCKET, unix.SO_LINGER, unsafe.Pointer(&reset), unsafe.Sizeof(reset))
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(l.fd), 0, 0)
	return false
}

// accepted makes what was accepted a connection.
func (l *Listener) accepted(err error) (Socket, error) {
	switch {
	case err != nil:
		err = net.ErrClosed
	case l.e != 0:
		err = os.NewSyscallError("accept4", l.e)
	default:
		var c *Conn
		if c, err = newConn(l.fd, localOf(l.fd), l.from.addr()); err == nil {
			return c, nil
		}
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.at, Err: err}
}

// SyscallConn implements syscall.Conn.
func (l *Listener) SyscallConn() (syscall.RawConn, error) { return l.raw, nil }

// Addr is where it listens.
func (l *Listener) Addr() net.Addr { return l.at }

// Close ends it; what it has accepted lives on.
func (l *Listener) Close() error { return l.file.Close() }

// A sockaddr is one of either family.
type sockaddr unix.RawSockaddrInet6

// put makes it an address, and returns its size. It fails for a zone that is none of this machine's.
func (s *sockaddr) put(at netip.AddrPort) (size uintptr, err error) {
	port := (*[2]byte)(unsafe.Pointer(&s.Port)) // at the same place in both
	if addr := at.Addr().Unmap(); addr.Is4() {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(s)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: addr.As4()}
		size = unix.SizeofSockaddrInet4
	} else {
		*s = sockaddr{Family: unix.AF_INET6, Addr: addr.As16()}
		size = unix.SizeofSockaddrInet6
		s.Scope_id, err = zones.Index(addr.Zone())
	}
	binary.BigEndian.PutUint16(port[:], at.Port())
	return size, err
}

// addr reads it.
func (s *sockaddr) addr() netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&s.Port))[:])
	if s.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(s)).Addr), port)
	}
	a := netip.AddrFrom16(s.Addr)
	if s.Scope_id != 0 {
		a = a.WithZone(zones.Name(s.Scope_id))
	}
	return netip.AddrPortFrom(a, port)
}

// localOf is where a socket is bound.
func localOf(fd int) netip.AddrPort {
	var s sockaddr
	size := uint32(unsafe.Sizeof(s))
	_, _, _ = unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&s)), uintptr(unsafe.Pointer(&size)))
	return s.addr()
}
