package stream

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// vectored says that readVector works here.
const vectored = true

// readVector reads a non-blocking socket once, into one buffer after the other.
func readVector(fd uintptr, vec [][]byte) (n int, err error) {
	for {
		if len(vec) == 1 {
			n, err = syscall.Read(int(fd), vec[0])
		} else {
			n, err = unix.Readv(int(fd), vec)
		}
		if err != syscall.EINTR {
			return n, err
		}
	}
}
