package mux

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// A late relay carries connections to an address, but for those that it holds: they are taken,
// and nothing comes of them.
type lateRelay struct {
	net.Listener
	taken atomic.Int64 // so far
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
	r.lead(t, func(int64) netip.AddrPort { return to })
}

// lead carries each connection to where its number leads it, until the test ends.
func (r *lateRelay) lead(t *testing.T, to func(n int64) netip.AddrPort) {
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() { stop(); r.Close(); r.tasks.Wait() })
	r.tasks.Go(func() {
		for {
			near, err := r.Accept()
			if err != nil {
				return
			}
			ends := []net.Conn{near}
			n := r.taken.Add(1)
			if r.hold.Add(-1) < 0 {
				on, err := net.Dial("tcp", to(n).String())
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

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A backend is one of the servers behind a load balancer, with the address of its own that
// it announces.
type backend struct {
	listener *Listener
	own      *lateRelay
	stop     func() // returns when it has ended
}

// behind starts such a server, of the tunnel's keys.
func (n *loopTunnel) behind(t *testing.T, log io.Writer) *backend {
	t.Helper()
	own := newLateRelay(t)
	lc := n.listenerConfig()
	lc.Listen = []ListenAddr{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}}
	lc.DenyJoinInitial, lc.Advertise = true, []netip.AddrPort{netip.MustParseAddrPort(own.Addr().String())}
	lc.Log = zerolog.New(log).Level(zerolog.WarnLevel)
	l, err := Listen(lc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); l.Run(ctx) }()
	b := &backend{l, own, func() { cancel(); <-ended }}
	own.run(t, l.Addrs()[0])
	t.Cleanup(b.stop)
	return b
}

// Behind a load balancer that leads each connection to another server, nobody joins at its
// address, not even those who dialled it before the session was there; nobody warns of a
// set-up that is right; and when the session's server has gone, the balancer is dialled at
// once.
func TestBalancerTakesNoJoins(t *testing.T) {
	n := newLoopTunnel(t, 1, 1, nil) // for its keys
	var said syncBuffer
	backends := []*backend{n.behind(t, &said), n.behind(t, &said)}
	front := newLateRelay(t)
	front.lead(t, func(i int64) netip.AddrPort { return backends[i%2].listener.Addrs()[0] })
	balancer := netip.MustParseAddrPort(front.Addr().String())

	const paths, subflows = 2, 3
	cc := ClientConfig{
		Key: n.key, ServerKey: n.serverKey.Public().(ed25519.PublicKey), Handler: newCollector(),
		Addresses: []string{balancer.String()}, Log: zerolog.New(&said).Level(zerolog.WarnLevel),
	}
	for i := range paths {
		cc.Paths = append(cc.Paths, Path{Name: fmt.Sprint("path", i), Local: netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}), Subflows: subflows})
	}
	client, err := NewClient(cc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); client.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })

	joined := func() bool { return len(client.session.core.connections()) == paths*subflows }
	eventually(t, "all subflows are up", joined)
	time.Sleep(4 * backoffMin) // whoever would still join does
	has, has0 := backends[0], backends[1]
	if len(has.listener.Sessions()) == 0 {
		has, has0 = has0, has
	}
	if mine, its := len(has.listener.Sessions()), len(has0.listener.Sessions()); mine != 1 || its != 0 {
		t.Errorf("one server has %d sessions, the other one %d", mine, its)
	}
	for _, b := range backends {
		for why, n := range b.listener.Refusals() {
			if n > 0 {
				t.Errorf("a server turned %d connections away: %s", n, why)
			}
		}
	}
	through := 0
	for _, f := range client.session.core.connections() {
		if f.remote == balancer {
			through++
		}
	}
	if through != 1 {
		t.Errorf("%d subflows go by the balancer", through)
	}
	if text := said.String(); text != "" {
		t.Errorf("said of a set-up that is right:\n%s", text)
	}

	before, begin := front.taken.Load(), time.Now()
	has.own.Close()
	has.stop()
	eventually(t, "the balancer is dialled again", func() bool { return front.taken.Load() > before })
	took := time.Since(begin)
	eventually(t, "the other server has the session", func() bool { return len(has0.listener.Sessions()) == 1 && joined() })
	t.Logf("dialled after %v, all subflows after %v", took, time.Since(begin))
	if took > 2*time.Second {
		t.Error("that is not at once")
	}
}
