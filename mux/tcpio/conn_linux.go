//go:build !mpsocks_portable

package tcpio

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Conn is a TCP connection that no package net knows of. It is safe for concurrent use, and its errors
// are as package net's.
type Conn struct {
	file          *os.File // owns the descriptor
	raw           syscall.RawConn
	local, remote end

	abrupt atomic.Bool // its end is a reset
	closed atomic.Bool
}

// Is says whether v is a Conn.
func Is(v any) bool {
	_, ok := v.(*Conn)
	return ok
}

// newConn makes a Conn of a descriptor that does not block, which it owns then.
func newConn(fd int, local, remote netip.AddrPort) (*Conn, error) {
	c := &Conn{file: os.NewFile(uintptr(fd), "tcp")}
	c.local.set(local)
	c.remote.set(remote)
	var err error
	if c.raw, err = c.file.SyscallConn(); err == nil {
		err = c.file.SetDeadline(time.Time{}) // fails if the poller has refused it
	}
	if err != nil {
		c.file.Close()
		return nil, err
	}
	return c, nil
}

// An end is an address of a connection, made once.
type end struct {
	tcp net.TCPAddr
	ip  [16]byte
}

func (e *end) set(at netip.AddrPort) {
	e.ip = at.Addr().As16()
	e.tcp = net.TCPAddr{IP: e.ip[:], Port: int(at.Port()), Zone: at.Addr().Zone()}
	if at.Addr().Is4() || at.Addr().Is4In6() {
		e.tcp.IP = e.ip[12:]
	}
}

// LocalAddr implements net.Conn. The address is not to be changed.
func (c *Conn) LocalAddr() net.Addr { return &c.local.tcp }

// RemoteAddr implements net.Conn. The address is not to be changed.
func (c *Conn) RemoteAddr() net.Addr { return &c.remote.tcp }

// viewsMost is how many pieces one call writes at most.
const viewsMost = 16

// A call is a Read or a Write that is made.
type call struct {
	p                   []byte
	vec                 [viewsMost]unix.Iovec
	views               int // of vec
	n                   int
	e                   unix.Errno
	read, write, gather func(fd uintptr) bool
}

var calls = sync.Pool{New: func() any {
	k := new(call)
	k.read, k.write, k.gather = k.readNow, k.writeNow, k.gatherNow
	return k
}}

// give gives a call back.
func (k *call) give() {
	k.p, k.n, k.e = nil, 0, 0
	calls.Put(k)
}

func (k *call) readNow(fd uintptr) bool {
	for {
		if n, _, e := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(k.p))), uintptr(len(k.p))); e != unix.EINTR {
			return k.done(n, e)
		}
	}
}

func (k *call) writeNow(fd uintptr) bool {
	for {
		if n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(k.p))), uintptr(len(k.p)), unix.MSG_NOSIGNAL, 0, 0); e != unix.EINTR {
			return k.done(n, e)
		}
	}
}

func (k *call) gatherNow(fd uintptr) bool {
	for {
		if n, _, e := unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&k.vec[0])), uintptr(k.views)); e != unix.EINTR {
			return k.done(n, e)
		}
	}
}

// done notes what a call has brought; false means that it would have had to wait.
func (k *call) done(n uintptr, e unix.Errno) bool {
	if k.n, k.e = int(n), e; e != 0 {
		k.n = 0
	}
	return e != unix.EAGAIN
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, c.failed("read", nil, 0)
	}
	k := calls.Get().(*call)
	defer k.give()
	k.p = p
	if err := c.failed("read", c.raw.Read(k.read), k.e); err != nil {
		return 0, err
	}
	if k.n == 0 {
		return 0, io.EOF
	}
	return k.n, nil
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (written int, err error) {
	k := calls.Get().(*call)
	defer k.give()
	for written < len(p) {
		k.p = p[written:]
		if err := c.failed("write", c.raw.Write(k.write), k.e); err != nil {
			return written, err
		}
		written += k.n
	}
	return written, nil
}

// WriteViews writes all of the pieces, which it borrows, many with one call, or fails.
func (c *Conn) WriteViews(pieces [][]byte) (written int64, err error) {
	k := calls.Get().(*call)
	defer k.give()
	defer func() { clear(k.vec[:]) }()
	from := 0 // what the first piece has behind it
	for {
		for len(pieces) > 0 && from == len(pieces[0]) {
			pieces, from = pieces[1:], 0
		}
		if len(pieces) == 0 {
			return written, nil
		}
		k.views = min(len(pieces), viewsMost)
		for i, p := range pieces[:k.views] {
			if i == 0 {
				p = p[from:]
			}
			k.vec[i].Base = unsafe.SliceData(p)
			k.vec[i].SetLen(len(p))
		}
		if err := c.failed("writev", c.raw.Write(k.gather), k.e); err != nil {
			return written, err
		}
		written += int64(k.n)
		for from += k.n; len(pieces) > 0 && from > len(pieces[0]); pieces = pieces[1:] {
			from -= len(pieces[0])
		}
	}
}

// failed is the error of an operation: what the poller says, or else the system.
func (c *Conn) failed(op string, err error, e unix.Errno) error {
	switch closed := c.closed.Load(); {
	case closed, err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		err = net.ErrClosed
	case err != nil:
	case e == 0:
		return nil
	default:
		err = os.NewSyscallError(op, e)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// control makes a call at once.
func (c *Conn) control(op string, call func(fd uintptr) unix.Errno) error {
	var e unix.Errno
	err := c.raw.Control(func(fd uintptr) { e = call(fd) })
	return c.failed(op, err, e)
}

// CloseWrite ends the direction out.
func (c *Conn) CloseWrite() error {
	return c.control("close", func(fd uintptr) unix.Errno { return shut(fd, unix.SHUT_WR) })
}

func shut(fd, how uintptr) unix.Errno {
	_, _, e := unix.RawSyscall(unix.SYS_SHUTDOWN, fd, how, 0)
	return e
}

// Close implements net.Conn. The other end hears of it at once, by a reset where something has come
// that nobody has read (RFC 2525, Section 2.17); the descriptor may live a little longer.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return c.failed("close", nil, 0)
	}
	reset := c.abrupt.Load()
	_ = c.raw.Control(func(fd uintptr) {
		if reset = reset || unread(fd); !reset {
			shut(fd, unix.SHUT_RDWR) // what comes from here on is answered with a reset
			reset = unread(fd)
		}
	})
	if reset {
		return c.file.Close()
	}
	_ = c.file.SetDeadline(time.Unix(1, 0)) // whoever waits
	closing.add(c.file)
	return nil
}

// unread says whether there is something to read, its end aside.
func unread(fd uintptr) bool {
	n := int32(0)
	_, _, e := unix.RawSyscall(unix.SYS_IOCTL, fd, unix.SIOCINQ, uintptr(unsafe.Pointer(&n)))
	return e == 0 && n > 0
}

// SetLinger is as of a net.TCPConn: with 0 the end is a reset.
func (c *Conn) SetLinger(sec int) error {
	l := unix.Linger{Onoff: 1, Linger: int32(sec)}
	if sec < 0 {
		l = unix.Linger{}
	}
	c.abrupt.Store(sec == 0)
	return c.control("set", func(fd uintptr) unix.Errno {
		return set(fd, unix.SOL_SOCKET, unix.SO_LINGER, unsafe.Pointer(&l), unsafe.Sizeof(l))
	})
}

// SetReadBuffer is as of a net.TCPConn.
func (c *Conn) SetReadBuffer(bytes int) error { return c.setInt(unix.SO_RCVBUF, bytes) }

// SetWriteBuffer is as of a net.TCPConn.
func (c *Conn) SetWriteBuffer(bytes int) error { return c.setInt(unix.SO_SNDBUF, bytes) }

func (c *Conn) setInt(option uintptr, v int) error {
	return c.control("set", func(fd uintptr) unix.Errno { return setInt(fd, unix.SOL_SOCKET, option, v) })
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.deadline(c.file.SetDeadline, t) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.deadline(c.file.SetReadDeadline, t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.deadline(c.file.SetWriteDeadline, t) }

func (c *Conn) deadline(set func(time.Time) error, t time.Time) error {
	var err error
	if !c.closed.Load() {
		err = set(t)
	}
	return c.failed("set", err, 0)
}

// SyscallConn implements syscall.Conn.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return (*rawConn)(c), nil }

// A rawConn is the bare connection, with errors as of a Conn.
type rawConn Conn

func (r *rawConn) Control(f func(fd uintptr)) error {
	return (*Conn)(r).failed("raw-control", r.raw.Control(f), 0)
}

func (r *rawConn) Read(f func(fd uintptr) bool) error {
	return (*Conn)(r).failed("raw-read", r.raw.Read(f), 0)
}

func (r *rawConn) Write(f func(fd uintptr) bool) error {
	return (*Conn)(r).failed("raw-write", r.raw.Write(f), 0)
}
