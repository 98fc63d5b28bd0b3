package dialer

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// bindInterface makes a socket use one interface (no privilege needed since
// Linux 5.7).
func bindInterface(raw syscall.RawConn, _, name string) (err error) {
	if e := raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), name) }); e != nil {
		return e
	}
	return err
}

// clamp bounds the segments that a socket sends and asks for. Where that fails the
// attempt is as good as the one before.
func clamp(raw syscall.RawConn, mss int) {
	raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, mss) })
}

// setMark gives a socket a mark for rules of routing. It takes CAP_NET_ADMIN.
func setMark(raw syscall.RawConn, mark uint32) (err error) {
	if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark)) }); e != nil {
		return e
	}
	return err
}
