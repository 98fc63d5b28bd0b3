//go:build unix && !linux

package carrier

import "golang.org/x/sys/unix"

func sendNow(fd uintptr, p []byte) (int, error) {
	n, err := unix.Write(int(fd), p)
	return max(n, 0), err
}

// looked ends a look that has left nothing: the poller is waited for.
func (*socket) looked(uintptr) (rests bool) { return false }

func (*socket) rested(uintptr, func() bool) {} // never

// An inbox has nothing to remember of what came: that nothing is left is known by asking.
type inbox struct{ past past }

func (*inbox) recv(fd uintptr, p []byte) (n int, more bool, err error) {
	n, err = unix.Read(int(fd), p)
	return max(n, 0), true, err
}
