//go:build linux && !mpsocks_portable

package udpio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/zones"
)

func TestCorrupts(t *testing.T) {
	for release, want := range map[string]bool{
		"6.18.44-fc": false, "7.0.0-rc1": true, "7.0": true, "7.0.12-generic": true, "7.1.4": true,
		"7.1.4+": true, "7.1.5": false, "7.1.10": false, "7.2.0": false, "17.1.0": false, "": false, "weird": false,
	} {
		if got := corrupts(release); got != want {
			t.Errorf("corrupts(%q) = %v, want %v", release, got, want)
		}
	}
}

func TestSockaddr(t *testing.T) {
	var z zones.Memory
	for _, tt := range []struct {
		in   string
		v6   bool
		want string // "" if unreachable
	}{
		{"192.0.2.1:53", false, "192.0.2.1:53"},
		{"192.0.2.1:53", true, ""},
		{"[::ffff:192.0.2.1]:65535", false, "192.0.2.1:65535"},
		{"[::ffff:192.0.2.1]:65535", true, ""},
		{"[2001:db8::1]:1", true, "[2001:db8::1]:1"},
		{"[2001:db8::1]:1", false, ""},
		{"[fe80::1%lo]:9", true, "[fe80::1%lo]:9"},
		{"[fe80::1%1]:9", true, "[fe80::1%lo]:9"},
	} {
		var sa sockaddr
		size := putSockaddr(&sa, netip.MustParseAddrPort(tt.in), tt.v6, &z)
		got := ""
		if size > 0 {
			got = addrPort(&sa, &z).String()
		}
		if got != tt.want {
			t.Errorf("%s on v6=%v: %q, want %q", tt.in, tt.v6, got, tt.want)
		}
	}
	mapped := sockaddr{Family: unix.AF_INET6, Addr: netip.MustParseAddr("::ffff:1.2.3.4").As16()}
	if got := addrPort(&mapped, &z); got.Addr() != netip.MustParseAddr("1.2.3.4") {
		t.Errorf("a mapped address came out as %s", got)
	}
}

func FuzzParseControl(f *testing.F) {
	var c sendControl
	n := c.put(true, 3, 0, true, 1200)
	f.Add(c[0], c[1], c[2], c[3], c[4], c[5], n)
	for _, h := range []unix.Cmsghdr{{Level: unix.IPPROTO_IPV6, Type: unix.IPV6_ORIGDSTADDR}, {Level: unix.IPPROTO_IP, Type: unix.IP_ORIGDSTADDR}, {Level: unix.IPPROTO_IP, Type: unix.IP_TTL}} {
		for _, size := range []int{3, 4, unix.SizeofSockaddrInet4, unix.SizeofSockaddrInet6} {
			var c sendControl
			h.SetLen(unix.CmsgLen(size))
			*(*unix.Cmsghdr)(unsafe.Pointer(&c)) = h
			*(*uint16)(unsafe.Add(unsafe.Pointer(&c), unix.CmsgLen(0))) = unix.AF_INET6
			f.Add(c[0], c[1], c[2], c[3], c[4], c[5], unix.CmsgSpace(size))
		}
	}
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g uint64, n int) {
		new(Message).parseControl([]uint64{a, b, c, d, e, g}, n, new(zones.Memory)) // must not read beyond, nor hang
	})
}

// TOS and Traffic Class travel both ways, also with trains, all eight bits.
func TestTOS(t *testing.T) {
	for _, local := range []netip.AddrPort{any4, any6} {
		for _, offload := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s offload=%v", local.Addr(), offload), func(t *testing.T) {
				l := startLoop(t, nil)
				var k, deaf collector
				to := listen(t, l, local, Options{TOS: true, Offload: offload}, k.handle)
				not := listen(t, l, local, Options{Offload: offload}, deaf.handle)
				from := listen(t, l, local, Options{Offload: offload}, deaf.handle)
				w := NewWriter()
				want := []uint8{0, 1, 2, 3, 0xb8, 0xb8, 0xb8, 0xbb, 0, 0x20}
				for _, tos := range want {
					w.Add(from, to.LocalAddr(), tos, payload(700, 1))
				}
				w.Add(from, not.LocalAddr(), 0xb8, payload(700, 1))
				if sent, dropped := w.Flush(); sent != len(want)+1 || dropped != 0 {
					t.Fatalf("sent %d, dropped %d", sent, dropped)
				}
				k.wait(t, len(want))
				if d := cmp.Diff(want, k.tos); d != "" {
					t.Error(d)
				}
				deaf.wait(t, 1)
				if deaf.tos[0] != 0 {
					t.Errorf("TOS %#x was reported unasked", deaf.tos[0])
				}
			})
		}
	}
}

func TestDropReasons(t *testing.T) {
	for errno, want := range map[unix.Errno]DropReason{
		unix.EAGAIN: DropFull, unix.ENOBUFS: DropFull, unix.EMSGSIZE: DropTooLong,
		unix.ECONNREFUSED: DropUnreachable, unix.EPERM: DropUnreachable, unix.ENETUNREACH: DropUnreachable,
		unix.EDESTADDRREQ: DropMisaddressed, unix.EINVAL: DropOther,
	} {
		if got := dropReason(errno); got != want {
			t.Errorf("%v is %s, want %s", errno, got, want)
		}
	}
}

// A round calls after once, however many sockets were ready, and not at all
// for nothing.
func TestAfterOncePerRound(t *testing.T) {
	batches, rounds := 0, 0
	l := idle(t, func() { rounds++ })
	u := plain(t, any4)
	for range 50 {
		c := listen(t, l, any4, Options{}, func(*Conn, []Message) { batches++ })
		u.WriteToUDPAddrPort([]byte("x"), c.LocalAddr())
	}
	drain(l)
	if batches != 50 || rounds != 1 {
		t.Errorf("%d batches in %d rounds, want 50 in 1", batches, rounds)
	}
}

// A socket that always has more does not keep what was read from going on.
func TestAfterWithinFlood(t *testing.T) {
	for _, tt := range []struct{ size, count, most int }{
		{10, 1000, gatherDatagrams + batchSize},
		{9000, 200, gatherBytes/9000 + batchSize},
	} {
		t.Run(fmt.Sprint(tt.size), func(t *testing.T) {
			gathered, most, total := 0, 0, 0
			l := idle(t, func() { gathered = 0 })
			c := listen(t, l, any4, Options{Offload: true, RecvBuffer: 1 << 23}, func(_ *Conn, msgs []Message) {
				gathered += len(msgs)
				total += len(msgs)
				most = max(most, gathered)
			})
			from := listen(t, l, any4, Options{Offload: true}, func(*Conn, []Message) {})
			w := NewWriter() // which sends trains
			for range tt.count {
				w.Add(from, c.LocalAddr(), 0, payload(tt.size, 0))
			}
			w.Flush()
			drain(l)
			if total < tt.count/2 {
				t.Fatalf("received %d of %d", total, tt.count)
			}
			if most > tt.most {
				t.Errorf("%d datagrams were gathered, want at most %d", most, tt.most)
			}
		})
	}
}

// A socket with much to read leaves room for the others in every round.
func TestFairness(t *testing.T) {
	var order []string
	l := idle(t, nil)
	u := plain(t, any4)
	note := func(name string) Handler {
		return func(_ *Conn, msgs []Message) {
			for range msgs {
				order = append(order, name)
			}
		}
	}
	flood := listen(t, l, any4, Options{RecvBuffer: 1 << 22}, note("flood"))
	for range 1000 {
		u.WriteToUDPAddrPort([]byte("x"), flood.LocalAddr())
	}
	quiet := listen(t, l, any4, Options{}, note("quiet"))
	u.WriteToUDPAddrPort([]byte("x"), quiet.LocalAddr())
	drain(l)
	if len(order) != 1001 {
		t.Fatalf("received %d, want 1001", len(order))
	}
	for i, name := range order {
		if name == "quiet" && i > maxBatches*batchSize {
			t.Errorf("the quiet socket waited for %d datagrams", i)
		}
	}
}

// ICMP errors are taken from a connected socket, counted, and end nothing.
func TestErrorsAreDrained(t *testing.T) {
	l := idle(t, nil)
	got := 0
	c := listen(t, l, any4, Options{}, func(_ *Conn, msgs []Message) { got += len(msgs) })
	u := plain(t, any4)
	peer := addrOf(u)
	u.Close()
	if err := c.Connect(peer); err != nil {
		t.Fatal(err)
	}
	w := NewWriter()
	for range 5 {
		w.Add(c, netip.AddrPort{}, 0, []byte("x"))
		w.Flush()
		drain(l)
	}
	if s := l.Stats(); s.Errors != 5 {
		t.Errorf("%d errors, want 5", s.Errors)
	}
	if s := w.Stats(); s.Datagrams != 5 || s.Dropped() != 0 {
		t.Errorf("sent %d, dropped %d, want 5, 0", s.Datagrams, s.Dropped())
	}
}

func TestDescriptorsAreClosed(t *testing.T) {
	l := startLoop(t, nil)
	warm := listen(t, l, any4, Options{Offload: true}, func(*Conn, []Message) {})
	before := descriptors(t)
	w := NewWriter()
	for range 300 {
		c := listen(t, l, any6, Options{Offload: true}, func(*Conn, []Message) {})
		w.Add(c, c.LocalAddr(), 0, []byte("x"))
		w.Add(warm, warm.LocalAddr(), 0, []byte("x"))
		w.Flush()
		c.Close()
	}
	for end := time.Now().Add(20 * time.Second); descriptors(t) > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d descriptors, %d before", descriptors(t), before)
		}
	}
	if n := len(l.conns); n > 3 {
		t.Errorf("the table grew to %d places for two sockets at a time", n)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(list)
}

func TestRunClosesAll(t *testing.T) {
	l, err := NewLoop(zerolog.Nop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Listen(any4, Options{}, func(*Conn, []Message) {})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	if !c.closed() {
		t.Error("a Conn outlived its Loop")
	}
	if _, err := l.Listen(any4, Options{}, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Listen after Run: %v", err)
	}
}

// A Handler may close a socket whose turn in the same round is still to come.
func TestCloseWithinRound(t *testing.T) {
	l := idle(t, nil)
	u := plain(t, any4)
	var conns [3]*Conn
	calls := 0
	for i := range conns {
		conns[i] = listen(t, l, any4, Options{}, func(*Conn, []Message) {
			calls++
			for _, c := range conns {
				c.Close()
			}
		})
		u.WriteToUDPAddrPort([]byte("x"), conns[i].LocalAddr())
	}
	drain(l)
	if calls != 1 {
		t.Errorf("%d calls, want 1: the first closed all", calls)
	}
}

// A flood from one socket goes in pieces, with a pause between, whether the kernel cuts it or
// not; what goes from many does not wait.
func TestWriterPauses(t *testing.T) {
	const n = 200
	var to []netip.AddrPort
	for range 2 {
		u := plain(t, any4)
		to = append(to, u.LocalAddr().(*net.UDPAddr).AddrPort())
	}
	loop := startLoop(t, func() {})
	for _, offload := range []bool{true, false} {
		var conns []*Conn
		for range 50 {
			conns = append(conns, listen(t, loop, any4, Options{Offload: offload}, func(*Conn, []Message) {}))
		}
		for _, f := range []struct{ conns, to, pauses int }{{1, 1, 3}, {1, 2, 3}, {2, 2, 2}, {50, 2, 0}} {
			w := NewWriter()
			for i := range n {
				w.Add(conns[i%f.conns], to[i%f.to], 0, payload(1200, i))
			}
			if sent, dropped := w.Flush(); sent != n || dropped != 0 {
				t.Errorf("%d sent, %d dropped", sent, dropped)
			}
			if w.pauses != f.pauses {
				t.Errorf("offload %v, from %d to %d: %d pauses, want %d", offload, f.conns, f.to, w.pauses, f.pauses)
			}
		}
	}
}
