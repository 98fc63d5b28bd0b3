package client

import (
	"net/netip"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

func forwardTo(to string) func(*conf.Client) {
	return func(cfg *conf.Client) {
		cfg.Forwards = []conf.Forward{{Listen: netip.MustParseAddrPort("127.0.0.1:0"), To: to}}
	}
}

func (a *app) exchange(t testing.TB, payload string) string {
	t.Helper()
	a.send(t, []byte(payload))
	b := make([]byte, 1500)
	a.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _, err := a.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestForward(t *testing.T) {
	z := &zone{ttl: 300, addrs: map[string][]string{"vpn.test": {"192.0.2.51"}}}
	for _, tt := range []struct{ to, dst string }{
		{"192.0.2.50:51820", "192.0.2.50:51820"},
		{"[2001:db8::50]:51820", "[2001:db8::50]:51820"},
		{"VPN.test:51820", "192.0.2.51:51820"},
	} {
		t.Run(tt.to, func(t *testing.T) {
			f := &fakeTunnel{answer: z.answer}
			c := start(t, f, forwardTo(tt.to))
			listen := c.forwards[0].conn.LocalAddr()
			one, two := newApp(t, "127.0.0.1", listen), newApp(t, "127.0.0.2", listen)
			for _, text := range []string{"a", "", "b"} {
				if got := one.exchange(t, "1"+text) + two.exchange(t, "2"+text); got != "1"+text+"2"+text {
					t.Errorf("%q", got)
				}
			}
			sources := map[netip.AddrPort]bool{}
			var last packet.UDP
			for _, h := range f.sent() {
				if h.Dst == resolver {
					continue
				}
				last = h
				sources[h.Src] = true
				if h.Dst.String() != tt.dst {
					t.Errorf("sent to %s", h.Dst)
				}
			}
			if len(sources) != 2 {
				t.Errorf("%d inner ports for 2 applications", len(sources))
			}
			// Somebody else's packets are not the destination's.
			last.Dst = netip.AddrPortFrom(last.Dst.Addr(), 9)
			c.Deliver(echo(last, []byte("no")))
			if n := c.drops[dropSource].Load(); n != 1 {
				t.Errorf("%d drops", n)
			}
		})
	}
}

func TestForwardIdlePeersGo(t *testing.T) {
	c := start(t, &fakeTunnel{answer: echo}, forwardTo("192.0.2.50:51820"))
	f := c.forwards[0]
	idle, busy := newApp(t, "127.0.0.1", f.conn.LocalAddr()), newApp(t, "127.0.0.1", f.conn.LocalAddr())
	idle.exchange(t, "x")
	busy.exchange(t, "x")
	for range forwardIdle + 1 {
		busy.exchange(t, "x")
		f.sweep()
	}
	if n := f.count(); n != 1 {
		t.Errorf("%d applications are left", n)
	}
	idle.exchange(t, "back again")
	if n := f.count(); n != 2 {
		t.Errorf("%d applications", n)
	}
}

func TestForwardErrors(t *testing.T) {
	for _, to := range []string{"nowhere", "host:0", "host:70000", "ho st:1", ":1"} {
		cfg := conf.DefaultClient()
		cfg.Listen = nil
		forwardTo(to)(cfg)
		if _, err := newClient(cfg, nopLog, &fakeTunnel{}); err == nil {
			t.Errorf("%q was taken", to)
		}
	}
}
