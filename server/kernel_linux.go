package server

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// kernelHolds is the memory of what a connection has received and nobody has read, and
// of what was written to it and is not acknowledged (SO_MEMINFO, since Linux 4.12).
func kernelHolds(c tcpio.Socket) (n int64) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	var m [9]uint32 // sk_meminfo's, uapi/linux/sock_diag.h
	_ = raw.Control(func(fd uintptr) {
		size := uint32(unsafe.Sizeof(m))
		if _, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&m)), uintptr(unsafe.Pointer(&size)), 0); e == 0 {
			n = int64(m[0]) + int64(m[5]) // RMEM_ALLOC, WMEM_QUEUED
		}
	})
	return n
}

// setSegment bounds the segments of a connection, both ways, before it is made.
func setSegment(raw syscall.RawConn, n int) {
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, n) })
}
