package mux

import (
	"context"
	"crypto/ed25519"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// Where something on the way lets no more than some of a path's connections through, the others
// are tried ever more seldom, and all at once when one more gets through.
func TestNoMoreGetThrough(t *testing.T) {
	n := newLoopTunnel(t, 1, 1, nil) // for its keys
	front := newLateRelay(t)
	var open atomic.Bool
	const most, subflows = 3, 6
	front.lead(t, func(i int64) netip.AddrPort {
		if i <= most || open.Load() {
			return n.addr
		}
		return netip.AddrPort{} // cannot be dialled: the connection is closed
	})
	c, err := NewClient(ClientConfig{
		Key: n.key, ServerKey: n.serverKey.Public().(ed25519.PublicKey), Handler: newCollector(), Log: zerolog.Nop(),
		Addresses: []string{front.Addr().String()}, Paths: []Path{{Name: "dsl", Local: netip.MustParseAddr("127.0.0.1"), Subflows: subflows}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); c.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	up := func(want int) func() bool {
		return func() bool { return len(c.session.core.connections()) == want }
	}
	eventually(t, "some are up", up(most))

	// Pauses of 50 to 150 ms, twice as much each time: after three seconds each is at the
	// fifth at least.
	time.Sleep(3 * time.Second)
	before := front.taken.Load()
	time.Sleep(3 * time.Second)
	if got := front.taken.Load() - before; got > 3*(subflows-most) {
		t.Errorf("%d attempts in three seconds", got)
	}
	if !up(most)() {
		t.Errorf("%d subflows, want the %d that got through", len(c.session.core.connections()), most)
	}
	open.Store(true)
	c.session.core.connections()[0].close()
	eventually(t, "all are up", up(subflows))
}
