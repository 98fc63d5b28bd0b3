package client

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// Control connections are kept alive, so that an association ends when its
// application's host vanishes: after a minute at most.
const (
	keepAliveIdle     = 30 * time.Second
	keepAliveInterval = 10 * time.Second
	keepAliveCount    = 3
)

// listen binds a TCP listener. all has all of them: an IPv6 wildcard takes IPv4
// connections too, unless another listener has that port for IPv4. An IPv4
// address is IPv4 only, 0.0.0.0 too: "tcp" would make it both families.
func listen(addr netip.AddrPort, all []netip.AddrPort) (*tcpio.Listener, error) {
	network := "tcp"
	switch {
	case addr.Addr().Is4():
		network = "tcp4"
	case addr.Addr().IsUnspecified() && slices.ContainsFunc(all, func(other netip.AddrPort) bool {
		return other.Addr().Is4() && other.Port() == addr.Port()
	}):
		network = "tcp6"
	}
	lc := net.ListenConfig{
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
		},
	}
	if inheritKeepAlive != nil {
		// One set of system calls per listener instead of per connection.
		lc.KeepAliveConfig.Enable, lc.KeepAlive = false, -1
		lc.Control = func(_, _ string, raw syscall.RawConn) error {
			tcpio.Inline(raw)
			if addr.Addr().IsLoopback() {
				carrier.Untimed(raw)
			}
			return inheritKeepAlive(raw)
		}
	}
	return bind(&lc, network, addr)
}

// bind binds a TCP listener as lc says.
func bind(lc *net.ListenConfig, network string, addr netip.AddrPort) (*tcpio.Listener, error) {
	// Go's listeners would offer kernel MPTCP, of which applications on the
	// same machine have nothing.
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), network, addr.String())
	if err != nil {
		return nil, err
	}
	return tcpio.Listen(ln.(*net.TCPListener))
}
