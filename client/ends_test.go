package client

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// discard is the server's port 9: it keeps what it hears, and echoes what goes
// elsewhere.
type discard struct {
	port  uint16 // another one to be heard at; 0: port 9
	mu    sync.Mutex
	from  []netip.AddrPort
	ended []netip.AddrPort
	most  int // bytes of the longest list
}

func (d *discard) answer(h packet.UDP, payload []byte) [][]byte {
	port := d.port
	if port == 0 {
		port = packet.DiscardPort
	}
	if h.Dst.Port() != port || h.Dst.Addr() != packet.ServerHost4 && h.Dst.Addr() != packet.ServerHost6 {
		return echo(h, payload)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.from = append(d.from, h.Src)
	d.most = max(d.most, len(payload))
	n := h.Src.Addr().BitLen() / 8
	for ; len(payload) >= n+2; payload = payload[n+2:] {
		addr, _ := netip.AddrFromSlice(payload[:n])
		d.ended = append(d.ended, netip.AddrPortFrom(addr, binary.BigEndian.Uint16(payload[n:])))
	}
	return nil
}

func (d *discard) heard() []netip.AddrPort {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]netip.AddrPort(nil), d.ended...)
}

var sameAddrPort = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

// TestEndIsTold ends associations and wants the server to hear of those that
// sent something, in each family that they sent in, and of no other.
func TestEndIsTold(t *testing.T) {
	d := new(discard)
	f := &fakeTunnel{answer: d.answer}
	c := start(t, f, nil)
	var want []netip.AddrPort
	for _, to := range [][]string{{}, {"192.0.2.1:7"}, {"192.0.2.1:7", "[2001:db8::1]:7"}} {
		conn, relay := associated(t, c, anywhere)
		a := newApp(t, "127.0.0.1", relay)
		for _, dst := range to {
			a.echoes(t, dst, []byte("x"))
			sent := f.sent()
			want = append(want, sent[len(sent)-1].Src)
		}
		defer conn.Close()
	}
	if n := len(d.heard()); n != 0 {
		t.Fatalf("heard of %d ends of open associations", n)
	}
	c.crowd.Close() // as at its end
	eventually(t, "the ends are told", func() bool { return len(d.heard()) >= len(want) })
	if diff := cmp.Diff(want, d.heard(), cmpopts.SortSlices(netip.AddrPort.Compare), sameAddrPort); diff != "" {
		t.Error(diff)
	}
	own := []netip.AddrPort{netip.AddrPortFrom(packet.ClientHost4, packet.DiscardPort), netip.AddrPortFrom(packet.ClientHost6, packet.DiscardPort)}
	if diff := cmp.Diff(own, d.from, sameAddrPort); diff != "" {
		t.Error(diff)
	}
}

// TestEndOfForward has an idle source of a forward end.
func TestEndOfForward(t *testing.T) {
	d := new(discard)
	f := &fakeTunnel{answer: d.answer}
	c := start(t, f, forwardTo("192.0.2.50:51820"))
	newApp(t, "127.0.0.1", c.front.forwards()[0].conn.LocalAddr()).exchange(t, "x")
	for range forwardIdle + 1 {
		c.front.forwards()[0].sweep()
	}
	eventually(t, "the end is told", func() bool { return len(d.heard()) > 0 })
	if diff := cmp.Diff([]netip.AddrPort{f.sent()[0].Src}, d.heard(), sameAddrPort); diff != "" {
		t.Error(diff)
	}
}

// TestEndsWait wants one to two ticks between the end and the news, lists of
// bounded length, and no news of a port that has an owner again.
func TestEndsWait(t *testing.T) {
	d := new(discard)
	c := start(t, &fakeTunnel{answer: d.answer}, nil)
	const n = 500
	ports := make([]innerPort, n)
	for i := range ports {
		if err := c.ports.take(&ports[i], nil); err != nil {
			t.Fatal(err)
		}
		c.ports.give(&ports[i])
		c.ends.add(endedPort{ports[i], true, i%2 == 0})
	}
	c.ports.freed[0].at -= uint32(portRest.Seconds())
	c.ports.next = portCount // the address has no unused port left
	var again innerPort
	if err := c.ports.take(&again, nil); err != nil || again.port != ports[0].port {
		t.Fatalf("%v: port %d, not %d", err, again.port, ports[0].port)
	}
	c.ends.timer.Stop() // the clock is the test's
	c.ends.tick()
	if got := len(d.heard()); got != 0 {
		t.Errorf("%d ends were told at the first tick", got)
	}
	c.ends.tick()
	got := d.heard()
	if want := n + n/2 - 2; len(got) != want || slices.Contains(got, again.source(hosts4[0])) {
		t.Errorf("%d ends were told, want %d without %v", len(got), want, again)
	}
	if d.most > maxNewsLen || d.most < maxNewsLen-18 {
		t.Errorf("a list of %d bytes", d.most)
	}
	c.ends.tick()
	if c.ends.running || len(d.heard()) != len(got) {
		t.Errorf("the timer runs for nothing, or %d ends were told again", len(d.heard())-len(got))
	}
	c.ports.give(&again)
}
