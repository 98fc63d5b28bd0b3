//go:build linux && !mpsocks_portable

package client

import (
	"testing"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/udpio/udpiotest"
)

// TestOffload asks the kernel what the relay sockets were told, for each
// udp.offload.
func TestOffload(t *testing.T) {
	gro := func(offload conf.Offload) int {
		c := start(t, &fakeTunnel{}, func(cfg *conf.Client) { cfg.UDP.Offload = offload })
		_, relay := associated(t, c, anywhere)
		return udpiotest.GRO(t, relay.Port())
	}
	if gro(conf.OffloadAuto) == 0 {
		t.Skip("this kernel has no GRO, or none that can be trusted")
	}
	if gro(conf.OffloadOff) != 0 {
		t.Error("offload: off does not reach the relay socket")
	}
}
