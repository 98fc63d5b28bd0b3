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
	raw, err := rawOf(c)
	if raw == nil || err != nil {
		return false
	}
	n := 0
	_ = raw.Control(func(fd uintptr) { n, _ = peek(fd) })
	return n > 0
}

// AwaitUnread waits until a socket has something to read, so that nobody who waits holds a
// buffer; it does not where the system does not say it. Errors are the socket's, which says
// each of them once, and its deadline.
func AwaitUnread(c net.Conn) error {
	raw, err := rawOf(c)
	if raw == nil || err != nil {
		return err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		_, failed = peek(fd)
		return failed != unix.EAGAIN
	})
	if err != nil {
		return err
	}
	return failed
}

// rawOf returns the socket of a connection, nil if it has none.
func rawOf(c net.Conn) (syscall.RawConn, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil, nil
	}
	return sc.SyscallConn()
}

// peek says how much of one byte there is, which stays there, and does not wait for it.
func peek(fd uintptr) (n int, err error) {
	var b [1]byte
	for {
		if n, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT); err != unix.EINTR {
			return n, err
		}
	}
}
