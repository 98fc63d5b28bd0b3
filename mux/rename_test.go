package mux

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/mpsocks/mpsocks/mux/dialer"
)

// A path at the server is called by the address that its newest subflow comes from: after the client, or
// its NAT, had another one it was called by the first as long as the session lived.
func TestPathIsCalledByItsAddress(t *testing.T) {
	var from atomic.Pointer[netip.Addr]
	n := newLoopTunnel(t, 1, 1, func(c *ClientConfig, _ *ListenerConfig) {
		c.dial = func(ctx context.Context, way *dialer.Way, segment int, a netip.AddrPort) (net.Conn, error) {
			w := *way
			if other := from.Load(); other != nil {
				w.Local = *other
			}
			return dialTCP(ctx, &w, segment, a)
		}
	})
	s := <-n.serverSession
	called := func(name string) func() bool {
		return func() bool {
			paths := s.Snapshot().Paths
			return len(paths) == 1 && paths[0].Name == name
		}
	}
	eventually(t, "it is called by its first address", called("127.0.0.1"))
	other := netip.MustParseAddr("127.0.0.77")
	from.Store(&other)
	n.client.session.core.connections()[0].close()
	eventually(t, "it is called by its new address", called(other.String()))
}
