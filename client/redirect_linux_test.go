//go:build !mpsocks_portable

package client

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// redirected runs a client with a redirect at an address.
func redirected(t *testing.T, f *fakeTunnel, at string, change func(*conf.Client)) (*Client, *redirect) {
	t.Helper()
	return redirectedWith(t, f, gate.Files(), at, change)
}

// redirectedWith is redirected in a process that may have so many files open.
func redirectedWith(t *testing.T, f *fakeTunnel, files int, at string, change func(*conf.Client)) (*Client, *redirect) {
	t.Helper()
	ln, err := listenTransparent(netip.MustParseAddrPort("127.0.0.1:0"), 0)
	if errors.Is(err, syscall.EPERM) {
		t.Skip("needs CAP_NET_ADMIN, for transparent sockets")
	}
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	// The destinations' addresses are bound, and another run of these tests has the same.
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "mpsocks-redirect-test.lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	c := startWith(t, f, files, func(cfg *conf.Client) {
		cfg.Redirect.Listen = []netip.AddrPort{netip.MustParseAddrPort(at)}
		if change != nil {
			change(cfg)
		}
	})
	eventually(t, "the front runs", func() bool {
		c.front.mu.Lock()
		defer c.front.mu.Unlock()
		return c.front.start != nil
	})
	return c, c.front.redirects()[0]
}

// give is what the Loop does with a datagram that was redirected.
func (r *redirect) give(from, to netip.AddrPort, ttl uint8, payload string) {
	b := buf.Get(len(payload))
	copy(b.Bytes(), payload)
	msgs := []udpio.Message{{Buf: b, Addr: from, To: to, TTL: ttl}}
	r.uplink(r.conn, msgs)
	if msgs[0].Buf != nil {
		msgs[0].Buf.Release()
	}
	r.client.tunnel.Flush()
}

// A guest is answered from where it has sent to and from nowhere else, at one inner port
// whatever it sends to, with the time to live that a router leaves.
func TestRedirectAnswersFromTheDestination(t *testing.T) {
	for _, tt := range []struct{ here, one, two string }{
		{"127.0.0.1:0", "203.0.113.1:53", "203.0.113.2:123"},
		{"[::1]:0", "[2001:db8::1]:53", "[2001:db8::2]:123"},
	} {
		t.Run(tt.here, func(t *testing.T) {
			f := &fakeTunnel{answer: echo}
			c, r := redirected(t, f, tt.here, nil)
			guest, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(tt.here)))
			if err != nil {
				t.Fatal(err)
			}
			defer guest.Close()
			at := guest.LocalAddr().(*net.UDPAddr).AddrPort()
			for _, to := range []string{tt.one, tt.two, tt.one} {
				r.give(at, netip.MustParseAddrPort(to), 9, "to "+to)
				guest.SetReadDeadline(time.Now().Add(20 * time.Second))
				b := make([]byte, 100)
				n, from, err := guest.ReadFromUDPAddrPort(b)
				if err != nil || from.String() != to || string(b[:n]) != "to "+to {
					t.Fatalf("%q from %s, %v; want it from %s", b[:n], from, err, to)
				}
			}
			sent := f.sent()
			for _, h := range sent {
				if h.Src != sent[0].Src || h.TTL != 8 {
					t.Errorf("sent from %s, time to live %d", h.Src, h.TTL)
				}
			}
			stranger := sent[0]
			stranger.Dst = netip.AddrPortFrom(stranger.Dst.Addr(), 54)
			c.downlink.Deliver([][]byte{respond(stranger, []byte("no"))})
			if n := c.drops[dropSource].Load(); n != 1 {
				t.Errorf("%d drops of what a stranger sent", n)
			}
			r.give(at, netip.MustParseAddrPort(tt.one), 1, "no further")
			if n := c.drops[dropTTL].Load(); n != 1 || len(f.sent()) != len(sent) {
				t.Errorf("%d drops at the end of the time to live", n)
			}
		})
	}
}

// What is sent to the redirect itself, or to this machine, leads nowhere.
func TestRedirectRefusesLoops(t *testing.T) {
	f := &fakeTunnel{answer: echo, exit: armonExit(t)}
	c, r := redirected(t, f, "127.0.0.1:0", nil)
	guest, err := net.Dial("udp", r.address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	if _, err := guest.Write([]byte("to the port itself")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the datagram is refused", func() bool { return c.drops[dropLoop].Load() == 1 })
	conn, err := net.Dial("tcp", r.address().String())
	if err == nil { // else the reset was as quick as the answer
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, err = conn.Read(make([]byte, 1))
		conn.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v of a connection to the port itself", err)
	}
	eventually(t, "the connection is refused", func() bool { return c.drops[dropLoop].Load() == 2 })
	from := netip.MustParseAddrPort("127.0.0.9:4000")
	for i, to := range []string{"127.0.0.1:53", "0.0.0.0:53", "224.0.0.251:5353", "255.255.255.255:67", "203.0.113.1:0", "198.18.0.3:53"} {
		r.give(from, netip.MustParseAddrPort(to), 64, "x")
		if n := c.drops[dropLoop].Load(); n != uint64(i)+3 {
			t.Errorf("%s: %d refused", to, n)
		}
	}
	if len(f.sent()) != 0 || r.guests.count() != 0 {
		t.Errorf("%d packets, %d guests", len(f.sent()), r.guests.count())
	}
}

// One machine has a part of the places and loses the longest silent one for a new one;
// the others have theirs.
func TestRedirectShares(t *testing.T) {
	f := &fakeTunnel{}
	c, r := redirected(t, f, "127.0.0.1:0", func(cfg *conf.Client) { cfg.Limits.Associations = 32 })
	to := netip.MustParseAddrPort("203.0.113.1:53")
	quiet := netip.MustParseAddrPort("127.0.0.2:4000")
	r.give(quiet, to, 64, "x")
	socket := func(i int) netip.AddrPort { return netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", 1000+i)) }
	for i := range 100 {
		r.give(socket(i), to, 64, "x")
		r.give(socket(0), to, 64, "still here")
	}
	if n := r.guests.count(); n != 1+32/2/admission.ShareOfOne {
		t.Errorf("%d sockets", n)
	}
	for _, a := range []netip.AddrPort{quiet, socket(0), socket(99)} {
		if r.guests.by[a] == nil {
			t.Errorf("%s is gone", a)
		}
	}
	// Many machines, each with one socket: the longest silent ones go.
	for i := range 100 {
		r.give(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, 0, byte(i)}), 9), to, 64, "x")
	}
	if n := r.guests.count(); n != 32/2 {
		t.Errorf("%d sockets of all machines", n)
	}
	if total, _ := c.associations.State(); total != 32/2 || len(r.guests.mouths) != 1 {
		t.Errorf("%d associations, %d sockets for one destination", total, len(r.guests.mouths))
	}
	if n := c.ports.used(); n != 1+32/2 {
		t.Errorf("%d inner ports", n)
	}
}

// Destinations have sockets, which are bounded as well, by the descriptors too.
func TestRedirectDestinations(t *testing.T) {
	c, r := redirectedWith(t, &fakeTunnel{}, files(11), "127.0.0.1:0", nil)
	r.guests.replies.Cap = 40
	one, two := netip.MustParseAddrPort("127.0.0.1:1000"), netip.MustParseAddrPort("127.0.0.2:1000")
	to := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 53)
	}
	r.give(two, to(0), 64, "x")
	for i := range 100 {
		r.give(one, to(i), 64, "x")
	}
	if len(r.guests.by[one].replies) != 10 || r.guests.by[one].replies[to(99)] == nil || r.guests.by[two].replies[to(0)] == nil {
		t.Errorf("%d destinations of one machine", len(r.guests.by[one].replies))
	}
	if n := len(r.guests.mouths); n != 11 || spare(c) != 0 {
		t.Errorf("%d sockets, %d descriptors are left of 11", n, spare(c))
	}
	r.give(two, to(200), 64, "x") // the machine's own one gives way
	if g := r.guests.by[two]; g == nil || len(g.replies) != 1 || g.replies[to(200)] == nil || len(r.guests.by[one].replies) != 10 {
		t.Error("another machine paid for a destination, or nobody could")
	}
	for range guestIdle + 1 {
		r.guests.sweep()
	}
	if n := r.guests.count(); n != 0 || len(r.guests.mouths) != 0 || spare(c) != 11 {
		t.Errorf("%d sockets and %d destinations of machines that are silent", n, len(r.guests.mouths))
	}
}

// A question that is not followed by another one holds no place for long.
func TestRedirectQuestions(t *testing.T) {
	_, r := redirected(t, &fakeTunnel{answer: echo}, "127.0.0.1:0", nil)
	asks, talks := netip.MustParseAddrPort("127.0.0.1:1000"), netip.MustParseAddrPort("127.0.0.1:1001")
	to := netip.MustParseAddrPort("203.0.113.1:53")
	r.give(asks, to, 64, "x")
	r.give(talks, to, 64, "x")
	r.give(talks, to, 64, "y")
	for range 3 {
		r.guests.sweep()
	}
	if r.guests.by[asks] != nil || r.guests.by[talks] == nil {
		t.Errorf("%d sockets are left", r.guests.count())
	}
}

// A reload takes redirects away and brings them, and leaves the others alone.
func TestRedirectReload(t *testing.T) {
	f := &fakeTunnel{answer: echo}
	c, r := redirected(t, f, "127.0.0.1:0", nil)
	r.give(netip.MustParseAddrPort("127.0.0.1:1000"), netip.MustParseAddrPort("203.0.113.1:53"), 64, "x")
	cfg := conf.DefaultClient()
	cfg.Listen = c.Addrs()
	cfg.Redirect.Listen = []netip.AddrPort{r.listen, netip.MustParseAddrPort("[::1]:0")}
	if err := c.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	if l := c.front.redirects(); len(l) != 2 || l[0] != r || r.guests.count() != 1 {
		t.Fatalf("%d redirects", len(l))
	}
	cfg.Redirect.Listen = cfg.Redirect.Listen[1:]
	if err := c.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	if l := c.front.redirects(); len(l) != 1 || l[0] == r || r.guests.count() != 0 {
		t.Fatalf("%d redirects, %d guests of the one that is gone", len(l), r.guests.count())
	}
	if conn, err := net.Dial("tcp", r.address().String()); err == nil {
		conn.Close()
		t.Error("it listens on")
	}
}

func TestRedirectParties(t *testing.T) {
	f := &fakeTunnel{}
	c, r := redirected(t, f, "127.0.0.1:0", nil)
	from := netip.MustParseAddrPort("127.0.0.7:1000")
	r.give(from, netip.MustParseAddrPort("203.0.113.1:53"), 64, "x")
	p := c.ports.lookup(f.sent()[0].Src)
	if p == nil {
		t.Fatal("no inner port")
	}
	if g, ok := p.owner.(*guestSocket); !ok || g.addr != from || g.source.User != "127.0.0.7" {
		t.Errorf("owned by %T", p.owner)
	}
	if l := c.Status().Forwards; len(l) != 1 || l[0].Peers != 1 {
		t.Errorf("status has %+v", l)
	}
	if h := f.sent()[0]; h.Dst.String() != "203.0.113.1:53" {
		t.Errorf("sent to %s", h.Dst)
	}
}
