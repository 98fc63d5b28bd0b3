package client

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inheritKeepAlive sets keep-alives on a listening socket: on Linux the accepted
// ones inherit them.
var inheritKeepAlive = func(raw syscall.RawConn) error {
	var err error
	set := func(fd uintptr) {
		err = errors.Join(
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(keepAliveIdle/time.Second)),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepAliveInterval/time.Second)),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount),
		)
	}
	return errors.Join(raw.Control(set), err)
}
