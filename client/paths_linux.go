package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/vishvananda/netlink"
)

// watchLinks pokes events when an interface, an address or a route changes, until ctx
// ends or the subscription breaks (the kernel's queue overflowed, say): then
// something may have been missed and the error says so.
func watchLinks(ctx context.Context, events chan<- struct{}) error {
	done := make(chan struct{}) // ends the library's two readers
	defer close(done)
	// The library reports what it cannot read and goes on, or closes its
	// channel. Either way something may have been missed: look again.
	var trouble atomic.Pointer[error]
	fail := func(err error) {
		trouble.Store(&err)
		poke(events)
	}
	ended := func() error {
		if err := trouble.Load(); err != nil {
			return fmt.Errorf("watch interfaces: %w", *err)
		}
		return errors.New("watch interfaces: ended")
	}
	linkUpdates := make(chan netlink.LinkUpdate, 16)
	// Asking for what exists over the same socket takes a privilege: it would go to
	// the socket's groups too. What exists is read afterwards, by the poke below.
	if err := netlink.LinkSubscribeWithOptions(linkUpdates, done, netlink.LinkSubscribeOptions{ErrorCallback: fail}); err != nil {
		return fmt.Errorf("subscribe to links: %w", err)
	}
	defer drain(linkUpdates)
	addrUpdates := make(chan netlink.AddrUpdate, 16)
	if err := netlink.AddrSubscribeWithOptions(addrUpdates, done, netlink.AddrSubscribeOptions{ErrorCallback: fail}); err != nil {
		return fmt.Errorf("subscribe to addresses: %w", err)
	}
	defer drain(addrUpdates)
	routeUpdates := make(chan netlink.RouteUpdate, 16)
	if err := netlink.RouteSubscribeWithOptions(routeUpdates, done, netlink.RouteSubscribeOptions{ErrorCallback: fail}); err != nil {
		return fmt.Errorf("subscribe to routes: %w", err)
	}
	defer drain(routeUpdates)
	poke(events)
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-linkUpdates:
			if !ok {
				return ended()
			}
		case _, ok := <-addrUpdates:
			if !ok {
				return ended()
			}
		case _, ok := <-routeUpdates:
			if !ok {
				return ended()
			}
		}
		poke(events)
	}
}

// drain lets a reader of the library end that waits to hand over an update; it
// closes the channel when done has ended it.
func drain[T any](updates <-chan T) {
	go func() {
		for range updates {
		}
	}()
}
