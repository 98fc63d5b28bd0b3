package mux

import (
	"context"
	"crypto/ed25519"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/dialer"
)

// A timed is a connection in memory whose deadline ends it.
type timed struct {
	*simConn
	own, other netip.AddrPort

	mu    sync.Mutex // guards timer
	timer *time.Timer
}

func (c *timed) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.own) }
func (c *timed) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.other) }

func (c *timed) SetDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	if !at.IsZero() {
		c.timer = time.AfterFunc(time.Until(at), func() { c.Close() })
	}
	return nil
}

// A simDoor takes connections in memory, for a real Listener.
type simDoor struct {
	at     netip.AddrPort
	come   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (d *simDoor) Addr() net.Addr { return net.TCPAddrFromAddrPort(d.at) }

func (d *simDoor) Accept() (net.Conn, error) {
	select {
	case c := <-d.come:
		return c, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

func (d *simDoor) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// A wild is a client and a server, both real, in virtual time, and what is between them.
type wild struct {
	c     *Client
	near  *collector // at the client, to which comes back what it sends
	far   *collector
	dials atomic.Int64
}

// inTheWild plays one whose paths have the bound addresses 192.0.2.100 and further ones. way makes
// a connection of a path as TCP's handshake does, whose error is the network's.
func inTheWild(t *testing.T, paths, subflows int, way func(ctx context.Context, path int) (near, far *simConn, err error), play func(w *wild)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		_, ck, _ := ed25519.GenerateKey(nil)
		_, sk, _ := ed25519.GenerateKey(nil)
		at := netip.MustParseAddrPort("192.0.2.1:443")
		door := &simDoor{at: at, come: make(chan net.Conn), closed: make(chan struct{})}
		w := &wild{near: newCollector(), far: newCollector()}
		l, err := Listen(ListenerConfig{
			Key: sk, Clients: map[[32]byte]string{[32]byte(ck.Public().(ed25519.PublicKey)): "c"}, Log: zerolog.Nop(),
			Listen: []ListenAddr{{Addr: at}}, Handed: []net.Listener{door},
			Accept: func(s *Session) (Handler, error) {
				w.far.reply.Store(s)
				return w.far, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		cfg := ClientConfig{Key: ck, ServerKey: sk.Public().(ed25519.PublicKey), Addresses: []string{at.String()}, Handler: w.near, Log: zerolog.Nop()}
		local := netip.MustParseAddr("192.0.2.100")
		first, port := local, uint16(40000)
		for i := range paths {
			cfg.Paths = append(cfg.Paths, Path{Name: string(rune('a' + i)), Local: local, Subflows: subflows})
			local = local.Next()
		}
		cfg.dial = func(ctx context.Context, by *dialer.Way, _ int, a netip.AddrPort) (net.Conn, error) {
			w.dials.Add(1)
			path := int(by.Local.As4()[3] - first.As4()[3])
			near, far, err := way(ctx, path)
			if err != nil {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
			}
			own := netip.AddrPortFrom(by.Local, port)
			go func() {
				time.Sleep(near.out.delay) // its acknowledgement
				select {
				case door.come <- &timed{simConn: far, own: a, other: own}:
				case <-door.closed:
				}
			}()
			return &timed{simConn: near, own: own, other: a}, nil
		}
		if w.c, err = NewClient(cfg); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		serve, end := context.WithCancel(t.Context())
		var client, server sync.WaitGroup
		server.Go(func() { l.Run(serve) })
		client.Go(func() { w.c.Run(ctx) })
		play(w)
		cancel()
		client.Wait()
		end()
		server.Wait()
		time.Sleep(time.Minute) // what is under way arrives nowhere
	})
}

// subflows is how many the client has.
func (w *wild) subflows() int { return w.c.session.core.count() }

// up is when the first subflow is, at most so long from now.
func (w *wild) up(most time.Duration) bool {
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if w.subflows() > 0 {
			return true
		}
	}
	return false
}

// after is TCP's handshake over a path of that round trip, where nothing is lost.
func after(ctx context.Context, rtt time.Duration) error {
	select {
	case <-time.After(rtt):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A path is used, however far it is: by limits of 5 s each for TCP's handshake, the server's proof and
// the session's, and 10 s for all at the server, those with round trips of 5 s and more were none.
func TestFarPaths(t *testing.T) {
	for _, rtt := range []time.Duration{2 * time.Second, 4 * time.Second, 6 * time.Second, 9 * time.Second} {
		p := newSimPath(1, rtt)
		inTheWild(t, 1, 3, func(ctx context.Context, _ int) (near, far *simConn, err error) {
			if err := after(ctx, rtt); err != nil {
				return nil, nil, err
			}
			near, far = simPair(p.there, p.back)
			return near, far, nil
		}, func(w *wild) {
			begin := time.Now()
			if !w.up(4*rtt + 5*time.Second) {
				t.Errorf("round trips of %v: no subflow in %v", rtt, time.Since(begin))
				return
			}
			up := time.Since(begin)
			for end := time.Now().Add(5*rtt + 10*time.Second); time.Now().Before(end) && w.subflows() < 3; {
				time.Sleep(100 * time.Millisecond)
			}
			all, dials := time.Since(begin), w.dials.Load()
			const n = 120
			sendEvery(w.c.session, n, 200, 500*time.Millisecond)
			time.Sleep(3 * rtt)
			there, _ := w.far.missing(n)
			back, _ := w.near.missing(n)
			t.Logf("round trips of %v: up after %v, three subflows after %v, with %d connections; %d more in a minute; %d of %d lost there, %d in all",
				rtt, up, all, dials, w.dials.Load()-dials, there, n, back)
			if w.subflows() < 3 || w.dials.Load()-dials > 3 || there > 0 || back > 0 {
				t.Errorf("%d subflows", w.subflows())
			}
		})
	}
}

// Who opens the session by a far path keeps a near one that comes meanwhile no longer than it did when
// all had to be near.
func TestFarPathKeepsNoNearOne(t *testing.T) {
	const rtt, comes = 9 * time.Second, 20 * time.Second
	far, near := newSimPath(1, rtt), newSimPath(10, 20*time.Millisecond)
	var there atomic.Bool
	inTheWild(t, 2, 2, func(ctx context.Context, path int) (*simConn, *simConn, error) {
		p := far
		if path == 1 {
			if !there.Load() {
				return nil, nil, errors.New("network is unreachable")
			}
			p = near
		} else if err := after(ctx, rtt); err != nil {
			return nil, nil, err
		}
		a, b := simPair(p.there, p.back)
		return a, b, nil
	}, func(w *wild) {
		time.Sleep(comes)
		if w.subflows() > 0 {
			t.Fatal("the far path is no far one")
		}
		there.Store(true)
		begin := time.Now()
		if !w.up(time.Minute) {
			t.Fatal("no subflow")
		}
		took := time.Since(begin)
		t.Logf("a subflow %v after the near path came", took)
		if took > handshakeTimeout+2*backoffMax {
			t.Error("that is late")
		}
	})
}

// A path that comes back is found as soon as before, though a handshake goes on where it was silent.
func TestPathThatComesBackIsFound(t *testing.T) {
	for _, away := range []time.Duration{3, 8, 10, 14, 18, 25, 40} {
		p := newSimPath(10, 20*time.Millisecond)
		var there atomic.Bool
		back := away * time.Second
		inTheWild(t, 1, 2, func(ctx context.Context, _ int) (*simConn, *simConn, error) {
			for again := time.Second; !there.Load(); again *= 2 { // a SYN
				if err := after(ctx, again); err != nil {
					return nil, nil, err
				}
			}
			a, b := simPair(p.there, p.back)
			return a, b, nil
		}, func(w *wild) {
			time.AfterFunc(back, func() { there.Store(true) })
			begin := time.Now()
			if !w.up(time.Minute) {
				t.Fatal("no subflow")
			}
			took := time.Since(begin) - back
			t.Logf("away for %v: found after %v more, with %d connections", back, took, w.dials.Load())
			if took > 2500*time.Millisecond {
				t.Error("that is late")
			}
		})
	}
}

// What gets through a path that loses four of ten packets of any size is not judged anew with each
// subflow, and those that there are stay: it was judged twice to four times in ten minutes, and each
// subflow that was made anew for it cost 6 kB of 16 kbit/s.
func TestSizesOnALossyPath(t *testing.T) {
	const loss = 0.4
	for seed := range uint64(3) {
		var mu sync.Mutex
		rnd := rand.New(rand.NewPCG(seed, 1))
		losses := func() (n int) {
			mu.Lock()
			defer mu.Unlock()
			for rnd.Float64() < loss {
				n++
			}
			return n
		}
		p := simPath{newSimWay(2000, 150*time.Millisecond, 2*time.Second), newSimWay(2000, 150*time.Millisecond, 2*time.Second)}
		p.there.lost, p.back.lost = losses, losses
		inTheWild(t, 1, 6, func(ctx context.Context, _ int) (*simConn, *simConn, error) {
			for again := time.Second; losses()+losses() > 0; again *= 2 {
				if err := after(ctx, again); err != nil {
					return nil, nil, err
				}
			}
			if err := after(ctx, 300*time.Millisecond); err != nil {
				return nil, nil, err
			}
			a, b := simPair(p.there, p.back)
			return a, b, nil
		}, func(w *wild) {
			time.Sleep(time.Millisecond)
			path := w.c.list()[0]
			changes, known := 0, 0
			for i := range 600 {
				if i%2 == 0 {
					sendOne(w.c.session, uint64(i), 100)
				}
				time.Sleep(time.Second)
				w.c.mu.Lock()
				if path.mtu != known {
					changes, known = changes+1, path.mtu
				}
				w.c.mu.Unlock()
			}
			t.Logf("seed %d: %d other sizes in ten minutes, %d connections", seed, changes, w.dials.Load())
			if changes > 1 {
				t.Error("that is too many")
			}
		})
	}
}

// When a path leads another way, what is under way from where it was before is not waited for, whenever that
// began: an IPv6 address that was no more than tentative had attempts from the interface's own one wait for seconds.
// Nor is it where there was no route.
func TestPathThatMovesIsDialledAnew(t *testing.T) {
	t.Run("another way", func(t *testing.T) { testDialledAnew(t, (*Client).Redial) })
	t.Run("a route", func(t *testing.T) { testDialledAnew(t, (*Client).Retry) })
}

func testDialledAnew(t *testing.T, change func(c *Client, paths []string)) {
	p := newSimPath(10, 20*time.Millisecond)
	for stay := 250 * time.Millisecond; stay < 12*time.Second; stay += 750 * time.Millisecond {
		var moved atomic.Bool
		inTheWild(t, 1, 2, func(ctx context.Context, _ int) (*simConn, *simConn, error) {
			if !moved.Load() {
				<-ctx.Done() // no SYN that goes from there arrives
				return nil, nil, ctx.Err()
			}
			if err := after(ctx, 20*time.Millisecond); err != nil {
				return nil, nil, err
			}
			a, b := simPair(p.there, p.back)
			return a, b, nil
		}, func(w *wild) {
			time.Sleep(stay)
			moved.Store(true)
			change(w.c, []string{"a"})
			begin := time.Now()
			if !w.up(time.Minute) {
				t.Fatal("no subflow")
			}
			if took := time.Since(begin); took > 250*time.Millisecond {
				t.Errorf("%v after the start it moved, and worked %v later", stay, took)
			}
		})
	}
}
