//go:build !mpsocks_portable

package tcpio

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// aliveEvery is how often a silent peer is asked, in seconds, and aliveAsked how often in vain, as by
// package net.
const aliveEvery, aliveAsked = 15, 9

// Dial connects. A target of the machine itself is mostly connected to when the first call
// returns, and nothing waits. Errors are *net.OpError, of the system or of ctx.
func (d *Dialer) Dial(ctx context.Context, to netip.AddrPort) (Socket, error) {
	for again := 2; ; again-- {
		c, err := d.once(ctx, to)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
		}
		// Where nobody listens the system may take that very port for our end, and connect it
		// to itself (RFC 9293, Section 3.5).
		if again == 0 || c.local.tcp.Port != c.remote.tcp.Port || !c.local.tcp.IP.Equal(c.remote.tcp.IP) {
			return c, nil
		}
		_ = c.SetLinger(0)
		c.Close()
	}
}

// once is one attempt.
func (d *Dialer) once(ctx context.Context, to netip.AddrPort) (c *Conn, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var at sockaddr
	size, err := at.put(to)
	if err != nil {
		return nil, err
	}
	open := func() (fd uintptr, e unix.Errno) {
		fd, _, e = unix.RawSyscall(unix.SYS_SOCKET, uintptr(at.Family), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		return fd, e
	}
	fd, e := open()
	if closing.helps(e) {
		fd, e = open()
	}
	if e != 0 {
		return nil, os.NewSyscallError("socket", e)
	}
	// What is begun goes on by the same call, which then says how that went.
	connect := func(fd uintptr) (done bool) {
		_, _, e = unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&at)), size)
		if e == unix.EISCONN {
			e = 0
		}
		return e != unix.EINPROGRESS && e != unix.EALREADY && e != unix.EINTR
	}
	if err = d.prepare(fd); err == nil && connect(fd) && e != 0 {
		err = os.NewSyscallError("connect", e)
	}
	if err != nil {
		_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
		return nil, err
	}
	if c, err = newConn(int(fd), netip.AddrPort{}, to); err != nil {
		return nil, err
	}
	if e != 0 {
		err = c.await(ctx, connect)
		if err == nil && e != 0 {
			err = os.NewSyscallError("connect", e)
		}
	}
	if err != nil {
		c.file.Close()
		return nil, err
	}
	c.local.set(localOf(int(fd)))
	return c, nil
}

// prepare sets what is set before the connection is begun.
func (d *Dialer) prepare(fd uintptr) error {
	setInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if d.Alive {
		setInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		setInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, aliveEvery)
		setInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, aliveEvery)
		setInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, aliveAsked)
	}
	d.Prepare(bare(fd))
	if !d.bound() {
		return nil
	}
	// The port is chosen for the destination, when that is known: one that is taken by bind is
	// nobody else's as long as anything is left of the connection (ip(7), Linux 4.2).
	setInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	var from sockaddr
	size, err := from.put(netip.AddrPortFrom(d.Local, 0))
	if err != nil {
		return err
	}
	if _, _, e := unix.RawSyscall(unix.SYS_BIND, fd, uintptr(unsafe.Pointer(&from)), size); e != 0 {
		return os.NewSyscallError("bind", e)
	}
	return nil
}

// await waits until connect says that it is done, or ctx ends.
func (c *Conn) await(ctx context.Context, connect func(fd uintptr) (done bool)) error {
	stop := func() bool { return true }
	waits := false
	err := c.raw.Write(func(fd uintptr) bool {
		if connect(fd) {
			return true
		}
		if !waits {
			waits = true
			stop = context.AfterFunc(ctx, func() { _ = c.file.SetWriteDeadline(time.Unix(1, 0)) })
		}
		return false
	})
	if !stop() {
		return ctx.Err()
	}
	return err
}

// bare is a descriptor that the poller does not know yet.
type bare uintptr

func (b bare) Control(f func(fd uintptr)) error { f(uintptr(b)); return nil }
func (bare) Read(func(fd uintptr) bool) error   { return errors.ErrUnsupported }
func (bare) Write(func(fd uintptr) bool) error  { return errors.ErrUnsupported }
