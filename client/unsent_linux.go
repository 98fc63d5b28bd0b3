package client

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// awaitSent waits until the far end has acknowledged what was written to a
// connection, so that a reset does not discard it; at most the given time.
func awaitSent(conn tcpio.Socket, limit time.Duration) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	pause := 5 * time.Millisecond
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(pause) {
		pause = min(pause+pause/4, 250*time.Millisecond) // there may be thousands that never do
		left := 0
		err := raw.Control(func(fd uintptr) {
			left, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
			// The kernel goes on counting when the connection has been reset.
			if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil && info.State == tcpClose {
				left = 0
			}
		})
		if err != nil || left == 0 {
			return
		}
	}
}

// tcpClose is TCP_CLOSE of the kernel's tcp_states.h.
const tcpClose = 7
