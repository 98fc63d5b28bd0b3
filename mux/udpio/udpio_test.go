package udpio

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// echoing returns a Handler that sends everything back, and the Writer's
// Flush to call after each round.
func echoing() (Handler, func()) {
	w := NewWriter()
	return func(c *Conn, msgs []Message) {
		for i := range msgs {
			w.Add(c, msgs[i].Addr, msgs[i].TOS, msgs[i].Buf.Bytes())
		}
		w.Flush() // the Buffers are released on return
	}, func() { w.Flush() }
}

func TestEchoSizes(t *testing.T) {
	for _, local := range []netip.AddrPort{any4, any6} {
		for _, offload := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s offload=%v", local.Addr(), offload), func(t *testing.T) {
				h, after := echoing()
				l := startLoop(t, after)
				c := listen(t, l, local, Options{Offload: offload}, h)
				u := plain(t, local)
				sizes := []int{0, 1, 8, 1200, 1472, 1951, 1952, 1953, 2048, 9000, 16384, 65507}
				if local.Addr().Is6() {
					sizes = append(sizes, 65527)
				}
				got := make([]byte, 1<<16)
				for i, n := range sizes {
					want := payload(n, i)
					if _, err := u.WriteToUDPAddrPort(want, c.LocalAddr()); err != nil {
						t.Fatal(err)
					}
					n, from, err := u.ReadFromUDPAddrPort(got)
					if err != nil {
						t.Fatalf("size %d: %v", len(want), err)
					}
					if !bytes.Equal(got[:n], want) {
						t.Fatalf("size %d: payload differs (got %d bytes)", len(want), n)
					}
					if from := netip.AddrPortFrom(from.Addr().Unmap(), from.Port()); from != c.LocalAddr() {
						t.Fatalf("answer from %s, want %s", from, c.LocalAddr())
					}
				}
				if s := l.Stats(); s.Datagrams != uint64(len(sizes)) || s.Dropped() != 0 {
					t.Errorf("stats %+v", s)
				}
			})
		}
	}
}

// Trains of all shapes between two Conns, through GSO and GRO where there are.
func TestTrains(t *testing.T) {
	shapes := [][]int{
		{1200, 1200},
		{1200, 1200, 1200, 40},
		{40, 1200, 1200},
		{1200, 0, 1200, 1200, 0, 0},
		{1, 1, 1, 1},
		{9000, 9000, 9000, 9000, 9000, 9000, 9000, 9000},
		{65507, 65507},
		{1953, 1953, 7},
	}
	long := make([]int, 200)
	for i := range long {
		long[i] = 1100
	}
	shapes = append(shapes, long)
	small := make([]int, 300)
	for i := range small {
		small[i] = 20 + i%3
	}
	shapes = append(shapes, small)
	for _, local := range []netip.AddrPort{any4, any6} {
		for _, connected := range []bool{false, true} {
			for i, sizes := range shapes {
				t.Run(fmt.Sprintf("%s connected=%v %d", local.Addr(), connected, i), func(t *testing.T) {
					l := startLoop(t, nil)
					var k collector
					to := listen(t, l, local, Options{Offload: true, RecvBuffer: 1 << 22}, k.handle)
					from := listen(t, l, local, Options{Offload: true}, func(*Conn, []Message) {})
					dst := to.LocalAddr()
					if connected {
						if err := from.Connect(dst); err != nil {
							t.Fatal(err)
						}
						dst = netip.AddrPort{}
					}
					w := NewWriter()
					var want [][]byte
					for j, n := range sizes {
						want = append(want, payload(n, j))
						w.Add(from, dst, 0, want[j])
					}
					if sent, dropped := w.Flush(); sent != len(sizes) || dropped != 0 {
						t.Fatalf("sent %d, dropped %d, want %d, 0: %+v", sent, dropped, len(sizes), w.Stats())
					}
					k.wait(t, len(want))
					for j := range want {
						if !bytes.Equal(k.got[j], want[j]) {
							t.Fatalf("datagram %d differs (%d bytes, want %d)", j, len(k.got[j]), len(want[j]))
						}
						if k.from[j] != from.LocalAddr() {
							t.Fatalf("datagram %d from %s, want %s", j, k.from[j], from.LocalAddr())
						}
					}
				})
			}
		}
	}
}

// One socket that talks to several peers at once keeps the order of each.
func TestInterleavedPeers(t *testing.T) {
	l := startLoop(t, nil)
	from := listen(t, l, any4, Options{Offload: true}, func(*Conn, []Message) {})
	const peers, each = 6, 40
	var ks [peers]collector
	var to [peers]*Conn
	for i := range to {
		to[i] = listen(t, l, any4, Options{Offload: i%2 == 0, RecvBuffer: 1 << 21}, ks[i].handle)
	}
	w := NewWriter()
	for n := range each {
		for i := range to {
			size := 500
			if n%7 == i {
				size = 300 + n
			}
			w.Add(from, to[i].LocalAddr(), 0, payload(size, n))
		}
	}
	if sent, _ := w.Flush(); sent != peers*each {
		t.Fatalf("sent %d of %d", sent, peers*each)
	}
	for i := range ks {
		ks[i].wait(t, each)
		for n, got := range ks[i].got {
			size := 500
			if n%7 == i {
				size = 300 + n
			}
			if !bytes.Equal(got, payload(size, n)) {
				t.Fatalf("peer %d: datagram %d is out of order or damaged", i, n)
			}
		}
	}
}

func TestManySockets(t *testing.T) {
	const sockets, each = 600, 3
	h, after := echoing()
	l := startLoop(t, after)
	u := plain(t, any4)
	conns := make([]*Conn, sockets)
	for i := range conns {
		conns[i] = listen(t, l, any4, Options{Offload: i%2 == 0}, h)
	}
	got := map[netip.AddrPort]int{}
	b := make([]byte, 2048)
	for range each {
		for _, c := range conns {
			if _, err := u.WriteToUDPAddrPort([]byte("hello"), c.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		for range conns {
			_, from, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				t.Fatalf("after %d: %v", len(got), err)
			}
			got[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())]++
		}
	}
	want := map[netip.AddrPort]int{}
	for _, c := range conns {
		want[c.LocalAddr()] = each
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

// One socket under a flood does not keep the others waiting for long, and what
// it has is read to the end although no new datagram announces it.
func TestDrainsWhatIsLeft(t *testing.T) {
	l := startLoop(t, nil)
	var k collector
	gate := make(chan struct{})
	var once sync.Once
	c := listen(t, l, any4, Options{RecvBuffer: 1 << 22}, func(c *Conn, msgs []Message) {
		once.Do(func() { <-gate }) // let a backlog of several rounds grow
		k.handle(c, msgs)
	})
	u := plain(t, any4)
	const n = 500
	for i := range n {
		if _, err := u.WriteToUDPAddrPort(payload(10, i), c.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	close(gate)
	k.wait(t, n)
}

// A refused datagram (ICMP) is counted and ends nothing: RFC 4787, REQ-12.
func TestRefusedPeerKeepsSocket(t *testing.T) {
	l := startLoop(t, nil)
	var k collector
	c := listen(t, l, any4, Options{}, k.handle)
	u := plain(t, any4)
	peer := addrOf(u)
	if err := c.Connect(peer); err != nil {
		t.Fatal(err)
	}
	u.Close()
	w := NewWriter()
	for i := range 20 {
		w.Add(c, netip.AddrPort{}, 0, payload(10, i))
		w.Flush()
	}
	time.Sleep(10 * time.Millisecond)
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(peer))
	if err != nil {
		t.Skip("the port was taken meanwhile")
	}
	defer u.Close()
	u.SetDeadline(time.Now().Add(20 * time.Second))
	w.Add(c, netip.AddrPort{}, 0, []byte("ping"))
	if sent, dropped := w.Flush(); sent != 1 || dropped != 0 {
		t.Errorf("sent %d, dropped %d, want 1, 0", sent, dropped)
	}
	b := make([]byte, 100)
	if n, _, err := u.ReadFromUDPAddrPort(b); err != nil || string(b[:n]) != "ping" {
		t.Fatalf("peer got %q, %v", b[:n], err)
	}
	u.WriteToUDPAddrPort([]byte("pong"), c.LocalAddr())
	k.wait(t, 1)
	if string(k.got[0]) != "pong" {
		t.Errorf("got %q", k.got[0])
	}
}

func TestConnectFilters(t *testing.T) {
	l := startLoop(t, nil)
	var k collector
	c := listen(t, l, any6, Options{}, k.handle)
	friend, stranger := plain(t, any6), plain(t, any6)
	if err := c.Connect(addrOf(friend)); err != nil {
		t.Fatal(err)
	}
	stranger.WriteToUDPAddrPort([]byte("no"), c.LocalAddr())
	friend.WriteToUDPAddrPort([]byte("yes"), c.LocalAddr())
	k.wait(t, 1)
	if string(k.got[0]) != "yes" || k.from[0] != addrOf(friend) {
		t.Errorf("got %q from %s", k.got[0], k.from[0])
	}
}

func TestDropsAreCounted(t *testing.T) {
	l := startLoop(t, nil)
	nothing := func(*Conn, []Message) {}
	c4, c6 := listen(t, l, any4, Options{}, nothing), listen(t, l, any6, Options{}, nothing)
	closed := listen(t, l, any4, Options{}, nothing)
	closed.Close()
	for _, tt := range []struct {
		name string
		c    *Conn
		dst  netip.AddrPort
		size int
		want DropReason
	}{
		{"v6 destination on a v4 socket", c4, c6.LocalAddr(), 1, DropMisaddressed},
		{"v4 destination on a v6 socket", c6, c4.LocalAddr(), 1, DropMisaddressed},
		{"no destination", c4, netip.AddrPort{}, 1, DropMisaddressed},
		{"closed", closed, c4.LocalAddr(), 1, DropClosed},
		{"too long", c4, c4.LocalAddr(), 65508, DropTooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := NewWriter()
			w.Add(tt.c, tt.dst, 0, make([]byte, tt.size))
			sent, dropped := w.Flush()
			if sent != 0 || dropped != 1 {
				t.Errorf("sent %d, dropped %d, want 0, 1", sent, dropped)
			}
			if s := w.Stats(); s.Drops[tt.want] != 1 || s.Dropped() != 1 {
				t.Errorf("stats %+v, want one drop for %s", s, tt.want)
			}
		})
	}
}

func TestMappedAddresses(t *testing.T) {
	l := startLoop(t, nil)
	var k collector
	c := listen(t, l, netip.MustParseAddrPort("[::ffff:127.0.0.1]:0"), Options{}, k.handle)
	if !c.LocalAddr().Addr().Is4() {
		t.Errorf("local address %s is not IPv4", c.LocalAddr())
	}
	w := NewWriter()
	mapped := netip.AddrPortFrom(netip.AddrFrom16(c.LocalAddr().Addr().As16()), c.LocalAddr().Port())
	w.Add(c, mapped, 0, []byte("x"))
	if sent, _ := w.Flush(); sent != 1 {
		t.Fatalf("not sent to %s: %+v", mapped, w.Stats())
	}
	k.wait(t, 1)
	if k.from[0] != c.LocalAddr() {
		t.Errorf("from %s, want %s", k.from[0], c.LocalAddr())
	}
}

func TestListenErrors(t *testing.T) {
	l := startLoop(t, nil)
	nothing := func(*Conn, []Message) {}
	c := listen(t, l, any4, Options{}, nothing)
	if _, err := l.Listen(c.LocalAddr(), Options{}, nothing); err == nil {
		t.Error("bound the same port twice")
	}
	if _, err := l.Listen(netip.AddrPort{}, Options{}, nothing); err == nil {
		t.Error("bound to no address")
	}
	c.Close()
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := c.Connect(any4); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Connect after Close: %v", err)
	}
}
