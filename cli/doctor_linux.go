package cli

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// clockSynced says whether something keeps the system's clock in time (adjtimex(2)).
func clockSynced() (synced, known bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, err == nil
}

// maxSegment is the size of TCP's segments on a connection: what the path's MTU leaves.
func maxSegment(conn net.Conn) (n int) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) { n, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG) })
	return n
}

// bindControl binds a socket to an interface and marks it, as the client does.
func bindControl(bind string, mark uint32) func(network, address string, c syscall.RawConn) error {
	_, isAddress := netip.ParseAddr(bind)
	return func(_, _ string, c syscall.RawConn) (err error) {
		e := c.Control(func(fd uintptr) {
			if mark != 0 {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
			}
			if err == nil && bind != "" && isAddress != nil {
				err = unix.BindToDevice(int(fd), bind)
			}
		})
		return errors.Join(e, err)
	}
}
