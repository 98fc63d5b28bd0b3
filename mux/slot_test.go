package mux

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// A subflow whose TLS keys have protected enough is replaced, before it ends if
// there is room for both; no packet is lost.
func TestWornSubflowIsReplaced(t *testing.T) {
	for name, most := range map[string]int{"room": 0, "no room": 2} {
		t.Run(name, func(t *testing.T) {
			n := newLoopTunnel(t, 1, 2, func(c *ClientConfig, l *ListenerConfig) {
				c.retireBytes = 100_000
				l.MaxSubflows = most
			})
			first := n.locals()
			least := 2
			n.send(2000, 2000, 200, func(i int) {
				if i%10 == 0 {
					n.client.checkCaps(time.Now())
					least = min(least, len(n.client.Session().Snapshot().Subflows))
				}
			})
			n.far.wait(t, 2000)
			n.near.wait(t, 2000)
			if most == 0 && least < 2 {
				t.Errorf("there was one subflow, not two")
			}
			eventually(t, "two subflows, not the first ones, after 400,000 bytes each way", func() bool {
				now := n.locals()
				return len(now) == 2 && slices.ContainsFunc(now, func(a netip.AddrPort) bool { return !slices.Contains(first, a) })
			})
		})
	}
}

// Both directions have keys, and either wears them out.
func TestWear(t *testing.T) {
	f := &subflow{carrier: new(counted)}
	carried(f).sent.Store(5)
	carried(f).received.Store(7)
	if f.wear() != 7 {
		t.Errorf("worn by %d bytes, want 7", f.wear())
	}
	carried(f).sent.Store(9)
	if f.wear() != 9 {
		t.Errorf("worn by %d bytes, want 9", f.wear())
	}
}
