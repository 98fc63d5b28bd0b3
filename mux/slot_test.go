package mux

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/dialer"
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

// TestConnectionsThatFreeze is a path that lets each connection carry so much and then nothing,
// as censors do and some firewalls: that its connections freeze is reported, and of no other path.
func TestConnectionsThatFreeze(t *testing.T) {
	const most = 20_000
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := make(chan string, 1)
	go func() { // ends with ln; each connection with both its ends
		to := <-server
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			go func() {
				io.Copy(near, far)
				near.Close()
			}()
			go func() {
				io.CopyN(far, near, most)
				io.Copy(io.Discard, near)
				far.Close()
			}()
		}
	}()
	frozen := netip.MustParseAddr("127.0.0.2")
	n := newLoopTunnel(t, 2, 1, func(c *ClientConfig, _ *ListenerConfig) {
		c.Paths[0].Backup = true
		c.dial = func(ctx context.Context, way *dialer.Way, segment int, a netip.AddrPort) (net.Conn, error) {
			to := a.String()
			if way.Local == frozen {
				select {
				case server <- to:
				default:
				}
				to = ln.Addr().String()
			}
			return way.Dialer(segment, carrier.Untimed).DialContext(ctx, "tcp", to)
		}
	})
	t.Cleanup(func() { ln.Close() })
	eventually(t, "three connections have frozen", func() bool {
		n.send(50, 2000, 1000, nil)
		return n.client.Reports()[1].Frozen >= 3
	})
	if got := n.client.Reports()[0].Frozen; got != 0 {
		t.Errorf("%d froze on the other path", got)
	}
}
