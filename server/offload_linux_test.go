//go:build linux && !mpsocks_portable

package server

import (
	"testing"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/udpio/udpiotest"
)

// TestOffload asks the kernel what the mappings' sockets were told, for each
// relay.offload.
func TestOffload(t *testing.T) {
	gro := func(offload conf.Offload) int {
		s := testServer(t, func(c *conf.Server) { c.Relay.Offload = offload }, nil)
		p := newPeer(s, "laptop", newFakeSession())
		remote, at := remoteUDP(t, "127.0.0.1")
		p.Deliver([][]byte{makePacket(inner4(7), at, 0, 0, nil)})
		_, mapped := read(t, remote)
		return udpiotest.GRO(t, mapped.Port())
	}
	if gro(conf.OffloadAuto) == 0 {
		t.Skip("this kernel has no GRO, or none that can be trusted")
	}
	if gro(conf.OffloadOff) != 0 {
		t.Error("offload: off does not reach the mapping's socket")
	}
}
