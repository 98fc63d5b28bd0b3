package stream

import (
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// A gate is the bare socket under a writer.
type gate struct {
	raw   syscall.RawConn
	write func(fd uintptr) bool
	vec   [outletMost]unix.Iovec
	n     int // of vec
	wrote int
	err   error
}

// newOutlet returns nil where w is anything but a TCP connection itself: what wraps one may
// count or limit.
func newOutlet(w io.Writer) *outlet {
	if _, ok := w.(*net.TCPConn); !ok && !tcpio.Is(w) {
		return nil
	}
	raw, err := w.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	o := &outlet{gate: gate{raw: raw}}
	o.write = o.now
	return o
}

// now writes to a socket that does not block, once.
func (g *gate) now(fd uintptr) bool {
	for {
		n, _, e := unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&g.vec[0])), uintptr(g.n))
		switch e {
		case 0:
			g.wrote = int(n)
		case unix.EINTR:
			continue
		case unix.EAGAIN:
		default:
			g.err = e
		}
		return true
	}
}

// flush writes as much as goes without waiting. An error is of the socket.
func (o *outlet) flush() (written int, err error) {
	o.n, o.wrote, o.err = 0, 0, nil
	for _, v := range o.views {
		o.vec[o.n].Base = unsafe.SliceData(v)
		o.vec[o.n].SetLen(len(v))
		o.n++
	}
	if o.n == 0 {
		return 0, nil
	}
	// An error of raw itself, such as a deadline or the end, WriteTo meets again.
	_ = o.raw.Write(o.write)
	clear(o.vec[:o.n])
	return o.wrote, o.err
}
