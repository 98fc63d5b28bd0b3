// Package udpiotest has what tests of udpio's users share.
package udpiotest

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// GRO returns UDP_GRO of this process's UDP socket at an IPv4 port. It skips the test
// where the system does not tell.
func GRO(t *testing.T, port uint16) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, f := range open {
		fd, _ := strconv.Atoi(f.Name())
		if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_DGRAM {
			continue
		}
		name, _ := unix.Getsockname(fd)
		if at, ok := name.(*unix.SockaddrInet4); ok && at.Port == int(port) {
			v, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO)
			if err != nil {
				t.Skip("this kernel does not tell: ", err)
			}
			return v
		}
	}
	t.Fatalf("no socket at port %d", port)
	return 0
}
