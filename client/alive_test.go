package client

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// TestOpenPortsAreKept has programs that fall silent: the server hears of their
// ports, in the families that they have sent in, as long as they are open.
func TestOpenPortsAreKept(t *testing.T) {
	d := &discard{port: packet.AlivePort}
	f := &fakeTunnel{answer: d.answer}
	c := start(t, f, func(cfg *conf.Client) {
		cfg.Forwards = []conf.Forward{{Listen: conf.EndpointOf(netip.MustParseAddrPort("127.0.0.1:0")), To: "192.0.2.9:9"}}
	})
	associated(t, c, anywhere) // has never sent
	closing, relay := associated(t, c, anywhere)
	newApp(t, "127.0.0.1", relay).echoes(t, "192.0.2.1:7", []byte("x"))
	_, relay = associated(t, c, anywhere)
	a := newApp(t, "127.0.0.1", relay)
	a.echoes(t, "192.0.2.1:8", []byte("x"))
	a.echoes(t, "[2001:db8::1]:8", []byte("x"))
	_, relay = associated(t, c, anywhere)
	busy := newApp(t, "127.0.0.1", relay)
	busy.echoes(t, "192.0.2.1:10", []byte("x"))
	newApp(t, "127.0.0.1", c.front.forwards()[0].conn.LocalAddr()).WriteToUDPAddrPort([]byte("x"), c.front.forwards()[0].conn.LocalAddr())
	eventually(t, "the forward's datagram is sent", func() bool { return len(f.sent()) == 5 })
	alive(c) // all have just sent something
	if got := d.heard(); len(got) != 0 {
		t.Fatalf("heard of %v", got)
	}
	busy.echoes(t, "192.0.2.1:10", []byte("x"))
	closing.Close()
	eventually(t, "it has gone", func() bool { return c.Status().Associations == 3 })
	alive(c)
	var want []netip.AddrPort
	for _, h := range f.sent() {
		if p := h.Dst.Port(); p == 8 || p == 9 {
			want = append(want, h.Src)
		}
	}
	less := cmpopts.SortSlices(func(a, b netip.AddrPort) bool { return a.Compare(b) < 0 })
	if diff := cmp.Diff(want, d.heard(), sameAddrPort, less); diff != "" {
		t.Error(diff)
	}
	for _, from := range d.from {
		if from.Port() != packet.DiscardPort {
			t.Errorf("the news came from %s", from)
		}
	}
	alive(c)
	if n := len(d.heard()); n != 2*len(want)+1 { // the busy one is silent, too, now
		t.Errorf("heard of %d ports", n)
	}
}
