//go:build unix && !linux

package carrier

import "golang.org/x/sys/unix"

func sendNow(fd uintptr, p []byte) (int, error) {
	n, err := unix.Write(int(fd), p)
	return max(n, 0), err
}

func recvNow(fd uintptr, p []byte) (int, error) {
	n, err := unix.Read(int(fd), p)
	return max(n, 0), err
}
