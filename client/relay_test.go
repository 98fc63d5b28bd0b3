package client

import (
	"testing"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/conf"
)

// TestRelayPortsAreShared: of a small range of relay ports one user leaves some to the others.
func TestRelayPortsAreShared(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, func(cfg *conf.Client) {
		cfg.UDP.Ports = conf.PortRange{From: 39500, To: 39515}
	})
	take := func(h admission.Holder) (n int) {
		for n < 20 && c.relays.shares.Acquire(h) {
			n++
		}
		return n
	}
	greedy := admission.Holder{User: "greedy"}
	if n := take(greedy); n != 14 {
		t.Errorf("one user has %d of 16", n)
	}
	if n := take(admission.Holder{User: "modest"}); n < 2 {
		t.Errorf("another one gets %d", n)
	}
	for range 14 {
		c.relays.shares.Release(greedy)
	}
	one, _ := associated(t, c, anywhere)
	eventually(t, "it is counted", func() bool { total, _ := c.relays.shares.State(); return total > 14 })
	one.Close()
	eventually(t, "and given back", func() bool { total, _ := c.relays.shares.State(); return total <= 14 })
}
