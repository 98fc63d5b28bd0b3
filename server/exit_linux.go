package server

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// socket is the target as the stream gets it: the bare connection, which it
// reads and writes with readv and writev. The kernel knows how idle it is.
func (e *exit) socket() *net.TCPConn { return e.target.Load() }

// quietTime asks the kernel how long ago data was last sent or received.
func quietTime(c *net.TCPConn) (quiet time.Duration, ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false
	}
	var info *unix.TCPInfo
	if ctlErr := raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); ctlErr != nil || err != nil {
		return 0, false
	}
	return time.Duration(min(info.Last_data_sent, info.Last_data_recv)) * time.Millisecond, true
}
