//go:build unix

package gate

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Unread says whether a connection has brought bytes that nobody has read yet, without
// reading them; false where the system does not say it.
func Unread(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	_ = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, _ = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return n > 0
}
