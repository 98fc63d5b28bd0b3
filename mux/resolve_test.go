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
)

var loopback = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}

// newDialClient makes a client that dials a listener by names, and does nothing
// else. PORT in an address is the listener's.
func newDialClient(t *testing.T, lookup lookupFunc, addrs ...string) *Client {
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
	conn, _, err := c.dial(c.ctx, &clientPath{way: way}, timeout)
	if err == nil {
		conn.Close()
	}
	return time.Since(begin), err
}

// age makes all answers old.
func (r *resolver) age(by time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.names {
		n.at = n.at.Add(-by)
	}
}

func hangs(ctx context.Context, _ *Path, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// An address that is there is dialled, whatever becomes of the names before it.
func TestLookupDelaysNoAddress(t *testing.T) {
	for name, lookup := range map[string]lookupFunc{
		"hangs": hangs,
		"fails": func(context.Context, *Path, string) ([]netip.Addr, error) { return nil, errors.New("no") },
	} {
		c := newDialClient(t, lookup, "server.test:PORT", "127.0.0.1:PORT")
		if took, err := c.try(t, Path{}, 2*time.Second); err != nil || took > stagger {
			t.Errorf("a lookup that %s: %v after %v", name, err, took)
		}
	}
	// Nor does one hold up the failure of an address for long.
	c := newDialClient(t, hangs, "server.test:PORT", "127.0.0.1:1")
	if took, err := c.try(t, Path{}, 5*time.Second); err == nil || took > 4*stagger {
		t.Errorf("a refused address, and a name that hangs: %v after %v", err, took)
	}
}

// A name may bring its address while others are dialled.
func TestLookupJoinsTheDial(t *testing.T) {
	answer := make(chan struct{})
	c := newDialClient(t, func(context.Context, *Path, string) ([]netip.Addr, error) {
		<-answer
		return loopback, nil
	}, "server.test:PORT", "127.0.0.1:1")
	time.AfterFunc(stagger/4, func() { close(answer) })
	if _, err := c.try(t, Path{}, 5*time.Second); err != nil {
		t.Error(err)
	}
}

// What was found once is used when it is not found again, and asked for again
// only when it is old.
func TestLookupIsKept(t *testing.T) {
	var asked atomic.Int64
	c := newDialClient(t, func(ctx context.Context, way *Path, host string) ([]netip.Addr, error) {
		switch asked.Add(1) {
		case 1:
			return loopback, nil
		case 2:
			return nil, errors.New("no")
		}
		return hangs(ctx, way, host)
	}, "server.test:PORT")
	for i, want := range []int64{1, 1, 2, 3} {
		if took, err := c.try(t, Path{}, time.Second); err != nil || took > stagger {
			t.Fatalf("dial %d: %v after %v", i, err, took)
		}
		eventually(t, "asked as often as is right", func() bool { return asked.Load() == want })
		eventually(t, "answered", func() bool {
			c.names.mu.Lock()
			defer c.names.mu.Unlock()
			return want == 3 || len(c.names.names["server.test"].asking) == 0
		})
		if i > 0 {
			c.names.age(lookupFresh + time.Second)
		}
	}
}

// A lookup outlives the attempt that began it, all attempts share it, and one
// name suffices.
func TestLookupIsShared(t *testing.T) {
	var asked atomic.Int64
	answer := make(chan struct{})
	c := newDialClient(t, func(ctx context.Context, way *Path, host string) ([]netip.Addr, error) {
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
	for name, dead := range map[string]lookupFunc{
		"hangs": hangs,
		"fails": func(context.Context, *Path, string) ([]netip.Addr, error) { return nil, errors.New("unreachable") },
	} {
		bound := Path{Name: "lte", Local: netip.AddrFrom4([4]byte{127, 0, 0, 2})}
		c := newDialClient(t, func(ctx context.Context, way *Path, host string) ([]netip.Addr, error) {
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

// A path's resolver asks from the path's address.
func TestResolverIsBound(t *testing.T) {
	way := Path{Local: netip.AddrFrom4([4]byte{127, 0, 0, 7}), KernelMPTCP: true}
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	conn, err := way.dialResolver(t.Context(), "udp", u.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); got != way.Local {
		t.Errorf("asks from %v", got)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err = way.dialResolver(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := addrPort(conn.LocalAddr()).Addr(); got != way.Local {
		t.Errorf("asks from %v", got)
	}
}

// A failure is said once: its words do not change from one lookup to the next.
func TestLookupErrorIsPlain(t *testing.T) {
	a := plainDNS(&net.DNSError{Name: "server.test", Server: "192.0.2.1:53", Err: "read udp 192.0.2.9:40001->192.0.2.1:53: i/o timeout", IsTimeout: true})
	if got := a.Error(); got != "lookup server.test: no answer" {
		t.Error(got)
	}
}
