package paths

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sys/windows"
)

// listeners are those who are told of changes. The system calls one function for all, for
// such a function is never given back.
var listeners struct {
	mu   sync.Mutex // guards list
	list map[chan<- struct{}]bool
}

var tellListeners = sync.OnceValue(func() uintptr {
	return windows.NewCallback(func(_, _, _ uintptr) uintptr {
		listeners.mu.Lock()
		defer listeners.mu.Unlock()
		for events := range listeners.list {
			poke(events)
		}
		return 0
	})
})

// watchLinks pokes events when an interface, an address or a route changes, until ctx ends.
// The error says what the system does not tell of.
func watchLinks(ctx context.Context, events chan<- struct{}) error {
	listeners.mu.Lock()
	if listeners.list == nil {
		listeners.list = make(map[chan<- struct{}]bool)
	}
	listeners.list[events] = true
	listeners.mu.Unlock()
	defer func() {
		listeners.mu.Lock()
		delete(listeners.list, events)
		listeners.mu.Unlock()
	}()
	tell := tellListeners()
	var interfaces, addresses, routes windows.Handle
	if err := windows.NotifyIpInterfaceChange(windows.AF_UNSPEC, tell, nil, false, &interfaces); err != nil {
		return fmt.Errorf("subscribe to interfaces: %w", err)
	}
	defer windows.CancelMibChangeNotify2(interfaces)
	if err := windows.NotifyUnicastIpAddressChange(windows.AF_UNSPEC, tell, nil, false, &addresses); err != nil {
		return fmt.Errorf("subscribe to addresses: %w", err)
	}
	defer windows.CancelMibChangeNotify2(addresses)
	if err := windows.NotifyRouteChange2(windows.AF_UNSPEC, tell, nil, false, &routes); err != nil {
		return fmt.Errorf("subscribe to routes: %w", err)
	}
	defer windows.CancelMibChangeNotify2(routes)
	poke(events) // what was missed
	<-ctx.Done()
	return nil
}
