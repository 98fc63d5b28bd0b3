package mux

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A late relay carries connections to an address, but for those that it holds: they are taken,
// and nothing comes of them.
type lateRelay struct {
	net.Listener
	hold  atomic.Int64 // how many of the next ones
	tasks sync.WaitGroup
}

func newLateRelay(t *testing.T) *lateRelay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &lateRelay{Listener: l}
}

// run carries until the test ends.
func (r *lateRelay) run(t *testing.T, to netip.AddrPort) {
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() { stop(); r.Close(); r.tasks.Wait() })
	r.tasks.Go(func() {
		for {
			near, err := r.Accept()
			if err != nil {
				return
			}
			ends := []net.Conn{near}
			if r.hold.Add(-1) < 0 {
				on, err := net.Dial("tcp", to.String())
				if err != nil {
					near.Close()
					continue
				}
				ends = append(ends, on)
				for i := range ends {
					r.tasks.Go(func() { io.Copy(ends[i], ends[1-i]); ends[i].Close() })
				}
			}
			context.AfterFunc(ctx, func() {
				for _, c := range ends {
					c.Close()
				}
			})
		}
	})
}

// A load balancer that answers sooner than the session's own server, which lost a packet,
// does not end the session.
func TestBalancerIsSooner(t *testing.T) {
	own := newLateRelay(t)
	tweak := func(_ *ClientConfig, lc *ListenerConfig) {
		lc.DenyJoinInitial, lc.Advertise = true, []netip.AddrPort{netip.MustParseAddrPort(own.Addr().String())}
	}
	n := newLoopTunnel(t, 1, 1, tweak)
	own.run(t, n.addr)
	other := n.listenerConfig()
	other.Listen = []ListenAddr{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}}
	tweak(nil, &other)
	l, err := Listen(other)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); l.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })

	eventually(t, "the server's own address is known", func() bool { return len(n.client.servers.announced()) == 1 })
	n.client.servers.set([]string{l.Addrs()[0].String()}) // where the balancer leads from now on
	session := n.client.Session().ID()
	for range 3 {
		own.hold.Store(1)
		before := n.client.session.core.connections()[0]
		before.close()
		eventually(t, "there is another subflow", func() bool {
			now := n.client.session.core.connections()
			return len(now) == 1 && now[0] != before
		})
		if now := n.client.Session().ID(); now != session {
			t.Fatalf("another session in the place of the one that lives")
		}
		time.Sleep(2 * backoffMin)
	}
	if len(l.Sessions()) != 0 {
		t.Error("the other server has a session")
	}
}
