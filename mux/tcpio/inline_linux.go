package tcpio

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Inline has urgent data stay among the other (RFC 6093, Section 6), for a socket, and for those
// that a listening one accepts: what copies from it would miss each urgent byte. It is best
// effort.
func Inline(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) { setInt(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1) })
}

func setInt(fd, level, option uintptr, v int) unix.Errno {
	n := int32(v)
	return set(fd, level, option, unsafe.Pointer(&n), unsafe.Sizeof(n))
}

func set(fd, level, option uintptr, v unsafe.Pointer, size uintptr) unix.Errno {
	_, _, e := unix.RawSyscall6(unix.SYS_SETSOCKOPT, fd, level, option, uintptr(v), size, 0)
	return e
}
