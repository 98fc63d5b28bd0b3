package client

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// TestFlowToNameKeepsItsAddress lets a name move while a flow to it lives.
func TestFlowToNameKeepsItsAddress(t *testing.T) {
	z := &zone{ttl: 300, addrs: map[string][]string{"game.test": {"192.0.2.4", "192.0.2.5"}}}
	c := start(t, &fakeTunnel{answer: z.answer}, nil)
	ask := func(a *app, to string) netip.Addr {
		a.send(t, datagram(0, to, nil))
		from, _ := a.receive(t)
		return from.Addr()
	}
	_, relay := associated(t, c, anywhere)
	a := newApp(t, "127.0.0.1", relay)
	old, moved := netip.MustParseAddr("192.0.2.4"), netip.MustParseAddr("192.0.2.77")
	if from := ask(a, "game.test:7"); from != old {
		t.Fatalf("from %s", from)
	}
	n := c.names.find([]byte("game.test"))
	eventually(t, "the answer is published", func() bool { return n.answer.Load() != nil })
	if others := n.answer.Load().others; len(others) != 1 {
		t.Errorf("further addresses: %v", others)
	}
	later := time.Now().Add(time.Hour)
	n.answer.Store(&answer{addr: moved, fresh: later, stale: later})
	for range 5 {
		if from := ask(a, "GAME.test.:7"); from != old {
			t.Errorf("the flow has moved to %s", from)
		}
	}
	if from := ask(a, "game.test:8"); from != moved {
		t.Errorf("a new flow goes to %s", from)
	}
	_, relay = associated(t, c, anywhere)
	if from := ask(newApp(t, "127.0.0.1", relay), "game.test:7"); from != moved {
		t.Errorf("another association's goes to %s", from)
	}
}

// TestFlowLeavesAnAddressThatDoesNotAnswer and that new ones avoid it then.
func TestFlowLeavesAnAddressThatDoesNotAnswer(t *testing.T) {
	var to atomic.Pointer[netip.Addr]
	dead, alive := netip.MustParseAddr("192.0.2.4"), netip.MustParseAddr("2001:db8::5")
	f := &fakeTunnel{answer: func(h packet.UDP, payload []byte) [][]byte {
		a := h.Dst.Addr()
		to.Store(&a)
		return nil
	}}
	a := bare(t, f)
	later := time.Now().Add(time.Hour)
	n := a.client.names.find([]byte("game.test"))
	n.answer.Store(&answer{addr: dead, others: []netip.Addr{alive}, fresh: later, stale: later})
	now := time.Now()
	send := func(in *inner) netip.Addr {
		in.mu.Lock()
		defer in.mu.Unlock()
		b := buf.Get(1)
		m := moment{now}
		dst, kept := in.toHost([]byte("game.test"), 7, b, 0, &m)
		if kept {
			t.Fatal("it waits for the name")
		}
		return dst.Addr()
	}
	in := &a.inner
	for range 10 { // a burst proves nothing
		if got := send(in); got != dead {
			t.Fatalf("begins with %s", got)
		}
	}
	now = now.Add(leaveNew)
	if got := send(in); got != alive {
		t.Errorf("still goes to %s", got)
	}
	in.answered(netip.AddrPortFrom(alive, 7))
	for range 20 { // an address that has answered is given more time
		now = now.Add(leaveOld / 30)
		if got := send(in); got != alive {
			t.Errorf("has left an address that answers for %s", got)
		}
	}
	other := bare(t, f)
	other.client = a.client
	if got := send(&other.inner); got != alive {
		t.Errorf("a new flow begins with %s", got)
	}
	now = now.Add(namedIdle + time.Second)
	in.answered(netip.AddrPortFrom(alive, 7))
	if got := send(in); got != dead {
		t.Errorf("after a pause and when the address is forgiven: %s", got)
	}
}
