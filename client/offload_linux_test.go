//go:build linux && !mpsocks_portable

package client

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/conf"
)

// TestOffload asks the kernel what the relay sockets were told, for each
// udp.offload.
func TestOffload(t *testing.T) {
	gro := func(offload conf.Offload) int {
		c := start(t, &fakeTunnel{}, func(cfg *conf.Client) { cfg.UDP.Offload = offload })
		_, relay := associated(t, c, anywhere)
		return groOf(t, relay.Port())
	}
	if gro(conf.OffloadAuto) == 0 {
		t.Skip("this kernel has no GRO, or none that can be trusted")
	}
	if gro(conf.OffloadOff) != 0 {
		t.Error("offload: off does not reach the relay socket")
	}
}

// groOf returns UDP_GRO of this process's UDP socket at a port.
func groOf(t *testing.T, port uint16) int {
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
