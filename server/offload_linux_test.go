//go:build linux && !mpsocks_portable

package server

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/conf"
)

// TestOffload asks the kernel what the mappings' sockets were told, for each
// relay.offload.
func TestOffload(t *testing.T) {
	gro := func(offload conf.Offload) int {
		s := testServer(t, func(c *conf.Server) { c.Relay.Offload = offload }, nil)
		p := s.newPeer("laptop", newFakeSession())
		remote, at := remoteUDP(t, "127.0.0.1")
		p.Deliver([][]byte{makePacket(inner4(7), at, 0, 0, nil)})
		_, mapped := read(t, remote)
		return groOf(t, mapped.Port())
	}
	if gro(conf.OffloadAuto) == 0 {
		t.Skip("this kernel has no GRO, or none that can be trusted")
	}
	if gro(conf.OffloadOff) != 0 {
		t.Error("offload: off does not reach the mapping's socket")
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
