package tcpio

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bare says that there are such calls here.
const bare = true

func (c *Conn) readNow(fd uintptr) bool {
	return c.done("read", func() (uintptr, unix.Errno) {
		n, _, e := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(c.p))), uintptr(len(c.p)))
		return n, e
	})
}

func (c *Conn) writeNow(fd uintptr) bool {
	return c.done("write", func() (uintptr, unix.Errno) {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(c.p))), uintptr(len(c.p)), unix.MSG_NOSIGNAL, 0, 0)
		return n, e
	})
}

// done notes what a call has brought; false means that it would have had to wait.
func (c *Conn) done(op string, call func() (uintptr, unix.Errno)) bool {
	for {
		n, e := call()
		switch e {
		case 0:
			c.n = int(n)
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		default:
			c.err = &net.OpError{Op: op, Net: "tcp", Source: c.tcp.LocalAddr(), Addr: c.tcp.RemoteAddr(), Err: os.NewSyscallError(op, e)}
		}
		return true
	}
}

// CloseWrite ends the direction out, as a TCPConn's own does.
func CloseWrite(tcp *net.TCPConn) error {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var e unix.Errno
	if err := raw.Control(func(fd uintptr) { _, _, e = unix.RawSyscall(unix.SYS_SHUTDOWN, fd, unix.SHUT_WR, 0) }); err != nil {
		return err
	}
	if e != 0 {
		return &net.OpError{Op: "close", Net: "tcp", Source: tcp.LocalAddr(), Addr: tcp.RemoteAddr(), Err: os.NewSyscallError("shutdown", e)}
	}
	return nil
}

// Inline has urgent data stay among the other (RFC 6093, Section 6), for a socket, and for those
// that a listening one accepts: what copies from it would miss each urgent byte. It is best
// effort.
func Inline(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) {
		on := int32(1)
		_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, uintptr(unsafe.Pointer(&on)), unsafe.Sizeof(on), 0)
	})
}

// Connect begins to connect a socket that package net is about to, from its Dialer's Control, as best
// effort: what becomes of it net finds out when it does the same. With an address of this machine the
// handshake is over by then, and net neither waits nor has another goroutine watch for the end
// of its context. The socket must not be bound afterwards.
func Connect(raw syscall.RawConn, to netip.AddrPort) {
	addr := to.Addr().Unmap()
	var sa unix.RawSockaddrInet6
	size := uintptr(unix.SizeofSockaddrInet6)
	sa.Family, sa.Addr = unix.AF_INET6, addr.As16()
	port := unsafe.Pointer(&sa.Port)
	if addr.Is4() {
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&sa))
		*sa4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: addr.As4()}
		size = unix.SizeofSockaddrInet4
		port = unsafe.Pointer(&sa4.Port)
	}
	binary.BigEndian.PutUint16((*[2]byte)(port)[:], to.Port())
	_ = raw.Control(func(fd uintptr) { _, _, _ = unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&sa)), size) })
}
