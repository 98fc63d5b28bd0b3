package paths

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// TestWatchLinks changes interfaces in a network namespace of its own.
func TestWatchLinks(t *testing.T) {
	ready, stop, result := make(chan error), make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	events := make(chan struct{}, 1)
	var handle *netlink.Handle
	go func() {
		// The thread is never unlocked, so that it dies with its namespace.
		runtime.LockOSThread()
		ns, err := netns.New()
		if err != nil {
			ready <- err
			return
		}
		defer ns.Close()
		if handle, err = netlink.NewHandle(); err != nil {
			ready <- err
			return
		}
		close(ready)
		<-stop // the handle's socket is made: watch from this thread
		result <- watchLinks(ctx, events)
	}()
	if err := <-ready; err != nil {
		cancel()
		t.Skipf("no network namespaces here: %v", err)
	}
	close(stop)
	defer handle.Close()
	quiet := func() {
		for {
			select {
			case <-events:
			case <-time.After(200 * time.Millisecond):
				return
			}
		}
	}
	expect := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-events:
		case <-time.After(20 * time.Second):
			t.Errorf("%s: no event", what)
		}
		quiet()
	}
	quiet() // what exists
	addr, err := netlink.ParseAddr("192.0.2.1/24")
	if err != nil {
		t.Fatal(err)
	}
	link, err := handle.LinkByName("lo") // the one that is always there
	if err != nil {
		t.Fatal(err)
	}
	expect("the link comes up", handle.LinkSetUp(link))
	expect("an address appears", handle.AddrAdd(link, addr))
	expect("the address goes", handle.AddrDel(link, addr))
	rule := netlink.NewRule()
	rule.Table, rule.Priority = 100, 100
	expect("a table is to count", handle.RuleAdd(rule))
	expect("and no more", handle.RuleDel(rule))
	rule.Family = netlink.FAMILY_V6
	expect("one of IPv6 is to count", handle.RuleAdd(rule))
	expect("the link goes down", handle.LinkSetDown(link))
	cancel()
	if err := <-result; err != nil {
		t.Error(err)
	}
}
