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

// bindLater has the port of a socket that is bound to an address chosen for its destination, when that is known:
// by bind it gets one that nobody on the machine has, to wherever (ip(7), IP_BIND_ADDRESS_NO_PORT, Linux 4.2).
func bindLater(raw syscall.RawConn) {
	raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) })
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
