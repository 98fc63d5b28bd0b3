//go:build unix && !linux

package carrier

import "golang.org/x/sys/unix"

func sendNow(fd uintptr, p []byte) (int, error) { return uninterrupted(unix.Write, fd, p) }

// uninterrupted calls again what a signal has interrupted.
func uninterrupted(call func(int, []byte) (int, error), fd uintptr, p []byte) (int, error) {
	for {
		if n, err := call(int(fd), p); err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// looked ends a look that has left nothing: the poller is waited for.
func (*socket) looked(uintptr) (rests bool) { return false }

func (*socket) rested(uintptr, func() bool) {} // never

// An inbox has nothing to remember of what came: that nothing is left is known by asking.
type inbox struct{ past past }

func (*inbox) recv(fd uintptr, p []byte) (n int, more bool, err error) {
	n, err = uninterrupted(unix.Read, fd, p)
	return n, true, err
}
