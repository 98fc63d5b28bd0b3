package mux

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/dialer"
)

// A told is a connection that counts its end.
type told struct {
	net.Conn
	closed *atomic.Int32
}

func (c told) Close() error { c.closed.Add(1); return nil }

// Of a route with two next hops one is dead: a connection is made by the other one soon, whichever the system chooses;
// what comes later is closed. Where both are dead the attempt takes as long as it may, and the error is that of
// the system's choice. A path that is bound keeps to what it is bound to.
func TestDeadNextHop(t *testing.T) {
	const trip, most = 30 * time.Millisecond, 1200 * time.Millisecond
	at := netip.MustParseAddrPort("192.0.2.1:443")
	for _, c := range []struct {
		name     string
		bind     string
		forks    []string
		dead     map[string]bool // "": the system chooses a dead one
		refuses  bool            // the router of the one that it chooses says so
		want     string          // by what it is through; "-" = it is not
		took     time.Duration
		attempts int32
		closed   int32
	}{
		{name: "all is well", forks: []string{"w1", "w2"}, took: trip, attempts: 1},
		{name: "no other one", dead: map[string]bool{"": true}, want: "-", took: most, attempts: 1},
		{name: "one is dead", forks: []string{"w1", "w2"}, dead: map[string]bool{"": true, "w1": true}, want: "w2", took: dialer.Stagger + trip, attempts: 3},
		{name: "its router says so", forks: []string{"w1", "w2"}, dead: map[string]bool{"w1": true}, refuses: true, want: "w2", took: 2 * trip, attempts: 3},
		{name: "both are", forks: []string{"w1", "w2"}, dead: map[string]bool{"": true, "w1": true, "w2": true}, want: "-", took: most, attempts: 3},
		{name: "bound", bind: "w1", forks: []string{"w1", "w2"}, dead: map[string]bool{"w1": true}, want: "-", took: most, attempts: 1},
		{name: "one without a carrier", forks: []string{"w1"}, dead: map[string]bool{"": true}, want: "w1", took: dialer.Stagger + trip, attempts: 2},
		{name: "both answer", forks: []string{"w1", "w2"}, dead: map[string]bool{"": true}, want: "w1", took: dialer.Stagger + trip, attempts: 3, closed: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, key, _ := ed25519.GenerateKey(nil)
				var attempts, closed atomic.Int32
				unreached := errors.New("no route to host")
				m, err := NewClient(ClientConfig{
					Key: key, ServerKey: key.Public().(ed25519.PublicKey), Handler: newCollector(), Log: zerolog.Nop(),
					Forks: func(netip.Addr) []string { return c.forks },
					dial: func(ctx context.Context, way *dialer.Way, _ int, _ netip.AddrPort) (net.Conn, error) {
						attempts.Add(1)
						if c.dead[way.Interface] {
							<-ctx.Done()
							return nil, ctx.Err()
						}
						time.Sleep(trip)
						if way.Interface == "" && c.refuses {
							return nil, unreached
						}
						if way.Interface == "w2" { // the other one is first
							time.Sleep(time.Millisecond)
						}
						return told{closed: &closed}, nil
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				l := lates{&clientPath{c: m, way: Path{Interface: c.bind}}}
				ctx, cancel := context.WithTimeout(t.Context(), most)
				defer cancel()
				begin := time.Now()
				conn, began, err := l.reach(ctx, 0, at)
				took := time.Since(begin)
				m.slots.Wait()
				if (err == nil) != (c.want != "-") || (conn == nil) != (err != nil) || took < c.took || took > c.took+2*time.Millisecond {
					t.Errorf("%v, %v after %v", conn, err, took)
				}
				if err == nil && time.Since(began) > took+time.Millisecond || began.Before(begin) {
					t.Errorf("it is said to have begun %v before the end", time.Since(began))
				}
				if n := attempts.Load(); n != c.attempts || closed.Load() != c.closed {
					t.Errorf("%d attempts, %d closed, want %d and %d", n, closed.Load(), c.attempts, c.closed)
				}
			})
		})
	}
}
