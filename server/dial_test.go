package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

func TestRace(t *testing.T) {
	d := newDialer(&egress{})
	ln := listenTCP(t, "127.0.0.1:0")
	refusing := []netip.Addr{netip.MustParseAddr("127.0.0.5"), netip.MustParseAddr("127.0.0.6"), netip.MustParseAddr("127.0.0.7")}
	c, err := d.connect(t.Context(), append(refusing, netip.MustParseAddr("127.0.0.1")), nil, portOf(ln), budget{})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := d.connect(t.Context(), refusing, nil, portOf(ln), budget{}); rank(err) != rankRefused {
		t.Errorf("refused: %v", err)
	}
	if _, err := d.connect(t.Context(), nil, nil, 1, budget{}); err == nil {
		t.Error("connected to nothing")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.connect(ctx, refusing, nil, portOf(ln), budget{}); err == nil {
		t.Error("connected after the end")
	}
}

// TestRefusalsCostNoStagger: after an address that refuses at once the next one is tried
// at once, in virtual time.
func TestRefusalsCostNoStagger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer(&egress{})
		last := netip.MustParseAddr("192.0.2.4")
		d.to = func(_ context.Context, to netip.AddrPort, _ manner) (tcpio.Socket, error) {
			if to.Addr() == last {
				return nil, nil
			}
			return nil, &dialError{wordRefused, nil}
		}
		start := time.Now()
		_, err := d.connect(t.Context(), []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3"), last}, nil, 80, budget{})
		if took := time.Since(start); err != nil || took != 3*failedPause {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// TestStagger has addresses that never answer before the one that does.
func TestStagger(t *testing.T) {
	ln := listenTCP(t, "127.0.0.1:0")
	d := newDialer(&egress{})
	var mu sync.Mutex
	var starts []time.Time
	silent := 0
	d.to = func(ctx context.Context, to netip.AddrPort, _ manner) (tcpio.Socket, error) {
		mu.Lock()
		starts = append(starts, time.Now())
		mu.Unlock()
		if to.Addr().Is4() {
			return d.dial(ctx, to, manner{})
		}
		<-ctx.Done()
		mu.Lock()
		silent++
		mu.Unlock()
		return nil, ctx.Err()
	}
	begin := time.Now() // and not when the first attempt begins, which may be late on a busy machine
	c, err := d.connect(t.Context(), []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8::1")}, nil, portOf(ln), budget{})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	mu.Lock()
	if len(starts) != 2 || starts[1].Sub(begin) < dialStagger {
		t.Errorf("attempts at %v", starts)
	}
	mu.Unlock()
	eventually(t, "the attempt that lost ends", func() bool { mu.Lock(); defer mu.Unlock(); return silent == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.connect(ctx, []netip.Addr{netip.MustParseAddr("2001:db8::1")}, nil, 1, budget{}); rank(err) != rankHost {
		t.Errorf("nobody answers: %v", err)
	}
}

func TestInterleave(t *testing.T) {
	var in, want []netip.Addr
	for _, a := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "192.0.2.3"} {
		in = append(in, netip.MustParseAddr(a))
	}
	for _, a := range []string{"2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		want = append(want, netip.MustParseAddr(a))
	}
	got := interleave(in)
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%v", got)
		}
	}
}

func TestDialErrors(t *testing.T) {
	op := func(e error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", e)}
	}
	for _, tt := range []struct {
		err  error
		word string
	}{
		{op(syscall.ECONNREFUSED), wordRefused},
		{op(syscall.ENETUNREACH), wordNetwork},
		{op(syscall.EHOSTUNREACH), "host unreachable"},
		{op(syscall.EACCES), "host unreachable"},
		{op(syscall.ETIMEDOUT), "timed out"},
		{context.DeadlineExceeded, "timed out"},
	} {
		if got := classed(tt.err); got.Error() != tt.word || !errors.Is(got, tt.err) {
			t.Errorf("%v: %v", tt.err, got)
		}
	}
	a, b := classed(op(syscall.ENETUNREACH)), classed(op(syscall.EHOSTUNREACH))
	if closer(a, b) != b || closer(b, a) != b || closer(nil, a) != a {
		t.Error("the wrong error wins")
	}
}

func TestEgress(t *testing.T) {
	for _, tt := range []struct {
		bind   string
		v4, v6 string // "" = none
		ok     bool
	}{
		{"", "0.0.0.0", "::", true},
		{"127.0.0.1", "127.0.0.1", "", true},
		{"203.0.113.77", "", "", false},
		{"nosuchinterface0", "", "", false},
	} {
		e, err := newEgress(tt.bind)
		if (err == nil) != tt.ok {
			t.Errorf("%q: %v", tt.bind, err)
		}
		if err != nil {
			continue
		}
		for want, v4 := range map[string]bool{tt.v4: true, tt.v6: false} {
			got, err := e.local(v4)
			if want == "" && err == nil || want != "" && got.String() != want {
				t.Errorf("%q: %v, %v", tt.bind, got, err)
			}
		}
	}
	ifaces, _ := net.Interfaces()
	for _, i := range ifaces {
		if i.Flags&net.FlagLoopback != 0 && i.Flags&net.FlagUp != 0 {
			e, err := newEgress(i.Name)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := e.local(true); err != nil || !got.IsLoopback() {
				t.Errorf("%s: %v, %v", i.Name, got, err)
			}
			s := testServer(t, func(c *conf.Server) { c.Relay.Bind = i.Name }, nil)
			p := newPeer(s, "laptop", newFakeSession())
			remote, at := remoteUDP(t, "127.0.0.1")
			p.Deliver([][]byte{makePacket(inner4(1), at, 0, 0, []byte("x"))})
			read(t, remote)
		}
	}
}

// TestAnInterfaceThatIsGone: the system is asked for it once a second, however much would leave by it.
func TestAnInterfaceThatIsGone(t *testing.T) {
	there, err := net.InterfaceByIndex(1)
	if err != nil || there.Flags&net.FlagLoopback == 0 {
		t.Skip("the first interface is not the loopback one")
	}
	synctest.Test(t, func(t *testing.T) {
		e := &egress{bind: "nosuchinterface0"}
		if _, err := e.local(true); err == nil {
			t.Fatal("it is there")
		}
		e.bind = there.Name // as if it came
		time.Sleep(egressAge / 2)
		if got, err := e.local(true); err == nil {
			t.Errorf("the system was asked again at once: %v", got)
		}
		time.Sleep(egressAge)
		if got, err := e.local(true); err != nil || !got.IsLoopback() {
			t.Errorf("%v, %v", got, err)
		}
	})
}

// Each attempt beside another takes a socket of the client's share, and gives it back; where
// there is none, one is made at a time. Further addresses count as destinations.
func TestAttemptsCostWhatTheyTake(t *testing.T) {
	for _, c := range []struct {
		name                      string
		sockets, admitted         int
		together, tried, refusals int
	}{
		{"as much as wanted", 100, 100, maxRunning, 8, 0},
		{"two beside", 2, 100, 3, 8, 0},
		{"none beside", 0, 100, 1, 5, 0}, // four seconds each
		{"three destinations more", 100, 3, 4, 4, 4},
	} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			free, left := c.sockets, c.admitted
			running, most, tried, refused := 0, 0, 0, 0
			count := func(f func()) { mu.Lock(); defer mu.Unlock(); f() }
			d := &dialer{to: func(ctx context.Context, _ netip.AddrPort, _ manner) (tcpio.Socket, error) {
				count(func() { running++; tried++; most = max(most, running) })
				<-ctx.Done()
				count(func() { running-- })
				return nil, classed(ctx.Err())
			}}
			var addrs []netip.Addr
			for i := range 8 {
				addrs = append(addrs, netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}))
			}
			_, err := d.connect(t.Context(), addrs, nil, 80, budget{
				admits: func(netip.Addr) (ok bool) {
					count(func() {
						if ok = left > 0; ok {
							left--
						} else {
							refused++
						}
					})
					return ok
				},
				socket: func() (give func(), ok bool) {
					count(func() {
						if ok = free > 0; ok {
							free--
						}
					})
					return func() { count(func() { free++ }) }, ok
				},
			})
			synctest.Wait()
			if err == nil || most != c.together || tried != c.tried || refused != c.refusals || free != c.sockets || running != 0 {
				t.Errorf("%s: %v; %d at once, %d tried, %d refused, %d sockets of %d", c.name, err, most, tried, refused, free, c.sockets)
			}
		})
	}
}

// TestManyAddresses: a name with 1,200 addresses makes a few attempts at once and some
// 20 in all, and an address that did not answer is tried last the next time.
func TestManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer(&egress{})
		var running, most, all atomic.Int32
		d.to = func(ctx context.Context, to netip.AddrPort, _ manner) (tcpio.Socket, error) {
			all.Add(1)
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer running.Add(-1)
			if to.Addr().As4()[3]%2 == 0 {
				return nil, &dialError{wordRefused, nil}
			}
			<-ctx.Done()
			return nil, classed(ctx.Err())
		}
		var addrs []netip.Addr
		for i := range 1200 {
			addrs = append(addrs, netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}))
		}
		if _, err := d.connect(t.Context(), addrs, nil, 80, budget{}); rank(err) != rankRefused {
			t.Errorf("%v", err)
		}
		if most.Load() > maxRunning || all.Load() > maxAttempts {
			t.Errorf("%d at once, %d in all", most.Load(), all.Load())
		}
		if order := d.order(addrs[:4], 80); order[0] != addrs[0] || order[1] != addrs[2] {
			t.Errorf("silent addresses are tried early: %v", order)
		}
		if order := d.order(addrs[:4], 443); order[1] != addrs[1] {
			t.Errorf("what did not answer at one port is tried late at another: %v", order)
		}
		time.Sleep(shunTime)
		if order := d.order(addrs[:2], 80); order[0] != addrs[0] {
			t.Errorf("never forgiven: %v", order)
		}
	})
}

// TestSilentAddressesAreRemembered: of more of them than are remembered the oldest are forgotten, and
// what is asked once more is the newest again.
func TestSilentAddressesAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialer(&egress{})
		at := func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 80)
		}
		late := func(i int) bool {
			other := netip.MustParseAddr("192.0.2.1")
			return d.order([]netip.Addr{at(i).Addr(), other}, 80)[0] == other
		}
		for i := range maxShunned {
			d.silent(at(i))
		}
		d.silent(at(0))
		for i := range 2 {
			d.silent(at(maxShunned + i))
		}
		for i, want := range map[int]bool{0: true, 1: false, 2: false, 3: true, maxShunned - 1: true, maxShunned + 1: true} {
			if got := late(i); got != want {
				t.Errorf("number %d is tried last: %v", i, got)
			}
		}
		d.answered(at(3))
		if late(3) {
			t.Error("one that has answered is tried last")
		}
		if n := d.shuns.Len(); n != len(d.shunned) || n != maxShunned-1 {
			t.Errorf("%d in their order, %d by address", n, len(d.shunned))
		}
		time.Sleep(shunTime)
		if late(4) {
			t.Error("never forgiven")
		}
	})
}
