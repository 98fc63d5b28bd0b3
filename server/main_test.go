package server

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/hands"
	"github.com/mpsocks/mpsocks/mux/muxtest"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeSession is the tunnel's other end: it keeps what the server sends.
type fakeSession struct {
	turns atomic.Int64
	down  atomic.Bool // it has no subflow
	gone  sync.Once
	yield func() // ends it

	mu      sync.Mutex
	got     []got
	icmp    [][]byte // packets
	halves  udpio.Reassembler
	flushes int
	discard bool
	beside  int64
	wishes  muxtest.Told[packet.End, mux.Wish]
	more    chan struct{}
}

type got struct {
	src, dst netip.AddrPort
	tos, ttl uint8
	id       uint32
	payload  []byte
}

func newFakeSession() *fakeSession { return &fakeSession{more: make(chan struct{}, 1)} }

func (f *fakeSession) Wish(at packet.End, w mux.Wish) bool {
	f.wishes.Note(at, w)
	return true
}

func (f *fakeSession) Send(src *mux.Source, pkts []*buf.Buffer) {
	f.mu.Lock()
	for _, b := range pkts {
		if !f.discard {
			var h packet.UDP
			payload, err := packet.ParseUDP(b.Bytes(), &h)
			if err == packet.ErrFragment {
				var whole bool
				if payload, whole = f.halves.Add(b.Bytes(), &h); !whole {
					b.Release()
					continue
				}
			} else if err == packet.ErrProtocol {
				f.icmp = append(f.icmp, bytes.Clone(b.Bytes()))
				b.Release()
				continue
			} else if err != nil {
				panic(err)
			}
			f.got = append(f.got, got{h.Src, h.Dst, h.TOS, h.TTL, h.ID, bytes.Clone(payload)})
		}
		b.Release()
	}
	f.mu.Unlock()
	f.wake()
}

// nextICMP waits for one packet with ICMP.
func (f *fakeSession) nextICMP(t *testing.T) []byte {
	t.Helper()
	var pkt []byte
	eventually(t, "a packet with ICMP", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.icmp) > 0 {
			pkt, f.icmp = f.icmp[0], f.icmp[1:]
		}
		return pkt != nil
	})
	return pkt
}

// quietICMP expects that none comes.
func (f *fakeSession) quietICMP(t *testing.T) {
	t.Helper()
	time.Sleep(30 * time.Millisecond)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.icmp) > 0 {
		t.Fatalf("unexpected ICMP: % x", f.icmp[0])
	}
}

func (f *fakeSession) Beside(n int64) {
	f.mu.Lock()
	f.beside = n
	f.mu.Unlock()
}

func (f *fakeSession) Turn() *hands.Hand {
	f.turns.Add(1)
	return nil
}

func (f *fakeSession) Far() bool { return false }

func (f *fakeSession) Up() bool { return !f.down.Load() }

func (f *fakeSession) Yield() bool {
	if f.Up() || f.yield == nil {
		return false
	}
	f.gone.Do(func() { go f.yield() })
	return true
}

func (f *fakeSession) Flush() {
	f.mu.Lock()
	f.flushes++
	f.mu.Unlock()
}

func (f *fakeSession) wake() {
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// next waits for one packet.
func (f *fakeSession) next(t *testing.T) got {
	t.Helper()
	g, ok := f.within(20 * time.Second)
	if !ok {
		t.Fatal("no packet came")
	}
	return g
}

// quiet expects that no packet comes.
func (f *fakeSession) quiet(t *testing.T) {
	t.Helper()
	if g, ok := f.within(50 * time.Millisecond); ok {
		t.Fatalf("unexpected packet %+v", g)
	}
}

func (f *fakeSession) within(d time.Duration) (got, bool) {
	deadline := time.After(d)
	for {
		f.mu.Lock()
		if len(f.got) > 0 {
			g := f.got[0]
			f.got = f.got[1:]
			f.mu.Unlock()
			return g, true
		}
		f.mu.Unlock()
		select {
		case <-f.more:
		case <-deadline:
			return got{}, false
		}
	}
}

func allow(t testing.TB, entries ...string) []conf.Access {
	t.Helper()
	out := make([]conf.Access, len(entries))
	for i, e := range entries {
		if err := out[i].UnmarshalText([]byte(e)); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// testServer runs a Server without a tunnel that may reach loopback.
func testServer(t testing.TB, change func(*conf.Server), adjust func(*Server)) *Server {
	t.Helper()
	cfg := conf.DefaultServer()
	cfg.Relay.Allow = allow(t, "127.0.0.0/8", "::1")
	if change != nil {
		change(cfg)
	}
	s, err := newServer(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if adjust != nil {
		adjust(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- s.run(ctx, func(ctx context.Context) error { <-ctx.Done(); return nil })
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run does not end")
		}
		if n := s.mappings.used.Load(); n != 0 {
			t.Errorf("%d mappings are left", n)
		}
		if n := s.streams.used.Load(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
		if n, ports := s.sockets.count(), s.ports[0].count()+s.ports[1].count(); n+ports != 0 {
			t.Errorf("%d sockets and %d ports are left", n, ports)
		}
	})
	return s
}

func makePacket(src, dst netip.AddrPort, tos uint8, id uint32, payload []byte) []byte {
	h := packet.UDP{Src: src, Dst: dst, TOS: tos, TTL: 64, ID: id}
	n := h.Overhead(len(payload))
	b := make([]byte, n+len(payload))
	copy(b[n:], payload)
	packet.PutUDP(b, &h)
	return b
}

// makeLong makes the two packets of a datagram that is too long for one.
func makeLong(src, dst netip.AddrPort, id uint32, payload []byte) (first, second []byte) {
	b, tail := append(make([]byte, packet.UDP6Overhead), payload...), make([]byte, packet.MaxTail)
	n, m := packet.SplitUDP(b, tail, &packet.UDP{Src: src, Dst: dst, TTL: 64, ID: id})
	return b[:n], tail[:m]
}

func inner4(port uint16) netip.AddrPort { return netip.AddrPortFrom(packet.ClientHost4, port) }
func inner6(port uint16) netip.AddrPort { return netip.AddrPortFrom(packet.ClientHost6, port) }

// remoteUDP is a host on the internet: a UDP socket on a loopback address.
func remoteUDP(t testing.TB, addr string) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 0)))
	if err != nil {
		t.Skipf("no socket on %s: %v", addr, err)
	}
	t.Cleanup(func() { c.Close() })
	return c, c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// read waits for one datagram at a remote.
func read(t testing.TB, c *net.UDPConn) (string, netip.AddrPort) {
	t.Helper()
	b := make([]byte, 1<<16)
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n]), netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// silent expects that a remote gets nothing.
func silent(t testing.TB, c *net.UDPConn) {
	t.Helper()
	b := make([]byte, 1<<16)
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, from, err := c.ReadFromUDPAddrPort(b); err == nil {
		t.Fatalf("unexpected datagram %q from %s", b[:n], from)
	}
}

var eventually = muxtest.Eventually

// oneMessage is a datagram as a socket brings it.
func oneMessage(from netip.AddrPort) udpio.Message {
	b := buf.Get(1)
	return udpio.Message{Addr: from, Buf: b}
}

// snapshot lists the reasons that occurred.
func (d *drops) snapshot() map[string]uint64 {
	out := make(map[string]uint64)
	for r := range d {
		if n := d[r].Load(); n > 0 {
			out[dropNames[r]] = n
		}
	}
	return out
}

// count is the number of mappings.
func (n *nat) count() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.mappings)
}

// count is how many are used.
func (s *sockets) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}
