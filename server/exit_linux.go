package server

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// socket is the target as the stream gets it: the bare connection, which it
// reads and writes with readv and writev. The kernel knows how idle it is.
func (e *exit) socket() tcpio.Socket { return e.conn() }

// quietTime asks the kernel how long ago data was last sent or received.
func quietTime(c tcpio.Socket) (quiet time.Duration, ok bool) {
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

// reset says whether nothing is left of a connection: it was reset, or it ended.
func reset(c tcpio.Socket) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	state := uint8(tcpClose)
	_ = raw.Control(func(fd uintptr) { // as package tcpio does: each CONNECT comes here, and this never waits
		size := uint32(unsafe.Sizeof(state)) // the first of TCP_INFO
		if _, _, e := unix.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_INFO, uintptr(unsafe.Pointer(&state)), uintptr(unsafe.Pointer(&size)), 0); e != 0 {
			state = tcpClose
		}
	})
	return state == tcpClose
}

// tcpClose is TCP_CLOSE of the kernel's tcp_states.h.
const tcpClose = 7

// unsent is how much of what was written to a connection its other end has not
// acknowledged and still may.
func unsent(c tcpio.Socket) (n int) {
	raw, err := c.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	}
	if n > 0 && reset(c) { // the kernel goes on counting
		return 0
	}
	return n
}
