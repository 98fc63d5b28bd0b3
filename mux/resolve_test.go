package mux

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/dialer"
	"github.com/mpsocks/mpsocks/mux/engine"
)

var loopback = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}

// newDialClient makes a client that dials a listener by names, and does nothing
// else. PORT in an address is the listener's.
func newDialClient(t *testing.T, lookup dialer.Lookup, addrs ...string) *Client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	pub, key, _ := ed25519.GenerateKey(nil)
	cfg := ClientConfig{Key: key, ServerKey: pub, Handler: newCollector(), lookup: lookup}
	for _, a := range addrs {
		cfg.Addresses = append(cfg.Addresses, strings.ReplaceAll(a, "PORT", port))
	}
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.ctx = ctx
	t.Cleanup(func() { cancel(); c.slots.Wait() })
	return c
}

// try dials once.
func (c *Client) try(t *testing.T, way Path, timeout time.Duration) (took time.Duration, err error) {
	t.Helper()
	begin := time.Now()
	// The listener proves nothing; what counts is whether it was reached.
	p := &clientPath{c: c, way: way, path: &engine.Path{}}
	c.servers.ask(c.ctx, c.slots.Go, p.way.dialWay())
	var why error
	race := dialer.Race[net.Conn]{
		Targets: func() (addrs []netip.AddrPort, asking bool) {
			addrs, asking, why = p.targets()
			return addrs, asking
		},
		Try: func(ctx context.Context, a netip.AddrPort, mss int, _ func(time.Duration)) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			return way.dialWay().Dialer(mss, nil).DialContext(ctx, "tcp", a.String())
		},
		Drop: func(conn net.Conn) { conn.Close() }, Go: c.slots.Go, Timeout: timeout,
	}
	won, _, err := race.Run(c.ctx)
	if won != nil {
		won.Value.Close()
	} else if err == nil {
		err = why
	}
	return time.Since(begin), err
}

func hangs(ctx context.Context, _ *dialer.Way, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// An address that is there is dialled, whatever becomes of the names before it.
func TestLookupDelaysNoAddress(t *testing.T) {
	for name, lookup := range map[string]dialer.Lookup{
		"hangs": hangs,
		"fails": func(context.Context, *dialer.Way, string) ([]netip.Addr, error) { return nil, errors.New("no") },
	} {
		c := newDialClient(t, lookup, "server.test:PORT", "127.0.0.1:PORT")
		if took, err := c.try(t, Path{}, 10*time.Second); err != nil { // the lookup takes longer than that
			t.Errorf("a lookup that %s: %v after %v", name, err, took)
		}
	}
	// Nor does one hold up the failure of an address for long.
	c := newDialClient(t, hangs, "server.test:PORT", "127.0.0.1:1")
	if took, err := c.try(t, Path{}, 10*time.Second); err == nil || took > 5*time.Second {
		t.Errorf("a refused address, and a name that hangs: %v after %v", err, took)
	}
}

// A name may bring its address while others are dialled.
func TestLookupJoinsTheDial(t *testing.T) {
	answer := make(chan struct{})
	c := newDialClient(t, func(context.Context, *dialer.Way, string) ([]netip.Addr, error) {
		<-answer
		return loopback, nil
	}, "server.test:PORT", "127.0.0.1:1")
	time.AfterFunc(dialer.Stagger/4, func() { close(answer) })
	if _, err := c.try(t, Path{}, 5*time.Second); err != nil {
		t.Error(err)
	}
}

// A lookup outlives the attempt that began it, all attempts share it, and one
// name suffices.
func TestLookupIsShared(t *testing.T) {
	var asked atomic.Int64
	answer := make(chan struct{})
	c := newDialClient(t, func(ctx context.Context, way *dialer.Way, host string) ([]netip.Addr, error) {
		asked.Add(1)
		if host == "dead.test" {
			return hangs(ctx, way, host)
		}
		<-answer
		return loopback, nil
	}, "dead.test:PORT", "server.test:PORT")
	if _, err := c.try(t, Path{}, 30*time.Millisecond); err == nil || !strings.Contains(err.Error(), "no answer for server.test yet") {
		t.Errorf("without an answer: %v", err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := c.try(t, Path{}, 5*time.Second); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	close(answer)
	wg.Wait()
	if n := asked.Load(); n != 2 {
		t.Errorf("%d lookups of two names", n)
	}
}

// With a dead default route, a bound path asks by itself, and what it finds
// serves the others.
func TestLookupByThePath(t *testing.T) {
	for name, dead := range map[string]dialer.Lookup{
		"hangs": hangs,
		"fails": func(context.Context, *dialer.Way, string) ([]netip.Addr, error) {
			return nil, errors.New("unreachable")
		},
	} {
		bound := Path{Name: "lte", Local: netip.AddrFrom4([4]byte{127, 0, 0, 2})}
		c := newDialClient(t, func(ctx context.Context, way *dialer.Way, host string) ([]netip.Addr, error) {
			if way == nil || way.Local != bound.Local {
				return dead(ctx, way, host)
			}
			return loopback, nil
		}, "server.test:PORT")
		if _, err := c.try(t, Path{Name: "any"}, 20*time.Millisecond); err == nil {
			t.Fatal("resolved by a dead default route")
		}
		for _, way := range []Path{bound, {Name: "any"}} {
			if _, err := c.try(t, way, time.Second); err != nil {
				t.Errorf("default route %s, path %s: %v", name, way.Name, err)
			}
		}
	}
}

// TestNobodyElse: where all addresses that are known were asked already, a race says that, and
// has no connection.
func TestNobodyElse(t *testing.T) {
	c := newDialClient(t, nil, "127.0.0.1:1", "127.0.0.1:2")
	way := Path{Name: "a", Local: netip.MustParseAddr("127.0.0.1")}
	c.paths = append(c.paths, &clientPath{c: c, way: way, path: &engine.Path{}})
	asked := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:2"), netip.MustParseAddrPort("127.0.0.1:1")}
	if v, err := c.paths[0].race(c.ctx, time.Second, asked); v != nil || err == nil {
		t.Errorf("%v, %v", v, err)
	}
}

// Names are asked again at once when no address that is known answers, and by every path
// when the server is there again.
func TestNamesAreAskedAgain(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]int{}
	c := newDialClient(t, func(_ context.Context, way *dialer.Way, _ string) ([]netip.Addr, error) {
		by := ""
		if way != nil {
			by = way.Local.String()
		}
		mu.Lock()
		defer mu.Unlock()
		asked[by]++
		return loopback, nil
	}, "server.test:1") // nobody is there
	for i := range 2 {
		way := Path{Name: string('a' + rune(i)), Local: netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i)})}
		c.paths = append(c.paths, &clientPath{c: c, way: way, path: &engine.Path{}})
	}
	expect := func(when string, byDefault, first, second int) {
		t.Helper()
		c.slots.Wait()
		mu.Lock()
		defer mu.Unlock()
		if asked[""] != byDefault || asked["127.0.0.2"] != first || asked["127.0.0.3"] != second {
			t.Errorf("%s: %v, want %d, %d and %d", when, asked, byDefault, first, second)
		}
	}
	if _, err := c.paths[0].race(c.ctx, time.Second, nil); err == nil {
		t.Fatal("the server is there")
	}
	expect("when nothing answers", 2, 2, 0)
	if _, err := c.paths[0].race(c.ctx, time.Second, nil); err == nil {
		t.Fatal("the server is there")
	}
	expect("once more", 3, 3, 0) // with each attempt, which have their pauses
	c.settle()
	expect("when it is back", 4, 4, 1)
	c.servers.doubt()
	c.settle()
	expect("when it is back after more", 5, 5, 2)
	c.settle()
	expect("when nothing was in doubt", 5, 5, 2)
}
