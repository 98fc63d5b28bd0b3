package carrier

import (
	"net"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// info reads TCP_CONNECTION_INFO; false where there is none.
func (k *socket) info(r *Report) bool {
	if k.raw == nil {
		return false
	}
	ok := false
	k.raw.Control(func(fd uintptr) {
		c, err := unix.GetsockoptTCPConnectionInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_CONNECTION_INFO)
		if err != nil {
			return
		}
		var f figures
		if f, ok = parseConnectionInfo(unsafe.Slice((*byte)(unsafe.Pointer(c)), unix.SizeofTCPConnectionInfo)); ok {
			k.inbox.past.report(f, time.Now(), r)
		}
	})
	return ok
}

// outstanding returns the bytes that the peer's kernel has not acknowledged: those in the
// socket's buffer.
func (k *socket) outstanding() (n int, ok bool) {
	if k.raw == nil {
		return 0, false
	}
	err := error(nil)
	if e := k.raw.Control(func(fd uintptr) { n, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NWRITE) }); e != nil {
		err = e
	}
	return n, err == nil && n >= 0
}

// setLowat bounds the unsent data in the kernel, best effort.
func (k *socket) setLowat(n int) {
	if k.raw != nil {
		k.raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, n) })
	}
}

func (k *socket) setCongestion(string) {}
func (k *socket) setPace(float64)      {}

// tune sets the options of a subflow's socket, best effort.
func tune(c net.Conn, lowat int) {
	if raw := rawOf(c); raw != nil {
		raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, lowat) })
	}
}
