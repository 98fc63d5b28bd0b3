package client

import (
	"context"
	"errors"
	"io"
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
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/muxtest"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

var nopLog = zerolog.Nop()

// net/http lingers for half a second over what it has refused.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// fakeTunnel stands in for a session: what is sent is kept, and answered at the
// next Flush.
type fakeTunnel struct {
	client *Client
	answer func(h packet.UDP, payload []byte) [][]byte // whole packets; or nil
	exit   func(net.Conn)                              // serves a stream; or nil
	down   atomic.Bool                                 // no path is up
	halves udpio.Reassembler

	mu      sync.Mutex
	replies [][]byte
	seen    []packet.UDP
	joined  []uint32 // Identifications of the datagrams that came in fragments
	sources []string
	wishes  muxtest.Told[packet.End, mux.Wish]
	ids     map[string]uint8 // address IDs of paths
	epoch   uint64
	told    []packet.Wish // what the server was told
	wg      sync.WaitGroup
}

func (f *fakeTunnel) Send(src *mux.Source, pkts []*buf.Buffer) {
	for _, b := range pkts {
		var h packet.UDP
		payload, err := packet.ParseUDP(b.Bytes(), &h)
		long := err == packet.ErrFragment
		if long {
			var whole bool
			if payload, whole = f.halves.Add(b.Bytes(), &h); !whole {
				b.Release()
				continue
			}
		} else if err != nil {
			panic(err)
		}
		if h.Dst.Port() == packet.WishPort {
			f.mu.Lock()
			for ; len(payload) >= packet.WishLen; payload = payload[packet.WishLen:] {
				f.told = append(f.told, packet.ParseWish(payload))
			}
			f.mu.Unlock()
			b.Release()
			continue
		}
		var replies [][]byte
		if f.answer != nil {
			replies = f.answer(h, payload)
		}
		f.mu.Lock()
		if long {
			f.joined = append(f.joined, h.ID)
		} else {
			f.seen = append(f.seen, h)
		}
		f.sources = append(f.sources, src.User)
		f.replies = append(f.replies, replies...)
		f.mu.Unlock()
		b.Release()
	}
}

func (f *fakeTunnel) Far() bool { return false }

func (f *fakeTunnel) Flush() {
	f.mu.Lock()
	replies := f.replies
	f.replies = nil
	f.mu.Unlock()
	if len(replies) > 0 {
		f.client.downlink.Deliver(replies)
	}
}

// sent returns the headers of the packets sent so far, but for fragments.
func (f *fakeTunnel) sent() []packet.UDP {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]packet.UDP(nil), f.seen...)
}

// forget drops what was noted, which would grow with a fuzz target.
func (f *fakeTunnel) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen, f.sources, f.joined, f.told, f.replies = nil, nil, nil, nil, nil
}

func (f *fakeTunnel) Ready(ctx context.Context) error {
	if f.down.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (f *fakeTunnel) Settled(ctx context.Context) error { return f.Ready(ctx) }

// fakeStream is a TCP connection, which has the half-close of a stream.
type fakeStream struct {
	*net.TCPConn
	first *[]byte // was read of it by Pour
	rest  *[]byte // was read by ReadFrom, and not written: a deadline loses nothing
}

func (s fakeStream) Read(p []byte) (int, error) {
	if n := copy(p, *s.first); n > 0 {
		*s.first = (*s.first)[n:]
		return n, nil
	}
	return s.TCPConn.Read(p)
}

func (s fakeStream) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{s})
}

func (s fakeStream) Pour(w io.Writer, says func([]byte) (int, bool), ended func(int64, error)) {
	go func() { ended(s.behind(w, says)) }()
}

func (s fakeStream) behind(w io.Writer, says func([]byte) (int, bool)) (int64, error) {
	b := make([]byte, 4096)
	n, err := s.TCPConn.Read(b)
	*s.first = b[:n]
	if err != nil {
		return 0, mux.ErrHead
	}
	skip, ok := says(b[:n])
	if !ok {
		return 0, mux.ErrHead
	}
	_ = s.SetReadDeadline(time.Time{})
	*s.first = b[skip:n]
	return s.WriteTo(w)
}

// LocalAddr is inside the tunnel.
func (s fakeStream) LocalAddr() net.Addr {
	at := s.TCPConn.LocalAddr().(*net.TCPAddr)
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(packet.ClientHost4, uint16(at.Port)))
}

func (fakeStream) Stands(bool) {}

// ReadFrom takes what is read: the kernel, which would move it from one connection to another by
// itself, ends at what is urgent.
func (s fakeStream) ReadFrom(r io.Reader) (n int64, err error) {
	b := make([]byte, 32<<10)
	for {
		if len(*s.rest) > 0 {
			k, werr := s.TCPConn.Write(*s.rest)
			if *s.rest = (*s.rest)[k:]; werr != nil {
				return n, werr
			}
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		var k int
		k, err = r.Read(b)
		*s.rest = b[:k]
		n += int64(k)
	}
}

func (s fakeStream) Reset() {
	s.SetLinger(0)
	s.Close()
}

func (f *fakeTunnel) OpenStream(ctx context.Context, from, to netip.AddrPort) (stream, error) {
	if f.exit == nil || to != exit && to != door {
		return nil, errors.New("no exit")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	here, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return nil, err
	}
	there, err := ln.Accept()
	if err != nil {
		return nil, err
	}
	f.wg.Go(func() {
		defer there.Close()
		f.exit(there)
	})
	return fakeStream{here.(*net.TCPConn), new([]byte), new([]byte)}, nil
}

func (f *fakeTunnel) Wish(at packet.End, w mux.Wish) bool {
	f.wishes.Note(at, w)
	return true
}

// wished is what was last asked of the session for an end.
func (f *fakeTunnel) wished(at packet.End) *mux.Wish {
	w := f.wishes.Last()[at]
	return &w
}

// lastTold is what the server was last told of an end.
func (f *fakeTunnel) lastTold(at packet.End) (w packet.Wish, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.told {
		if t.At == at {
			w, ok = t, true
		}
	}
	return w, ok
}

func (f *fakeTunnel) IDs(names []string) (ids uint32, epoch uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		ids |= 1 << f.ids[n]
	}
	return ids, f.epoch
}

// respond makes a packet with a payload from the far end of h.
func respond(h packet.UDP, payload []byte) []byte {
	h.Src, h.Dst = h.Dst, h.Src
	n := h.Overhead(len(payload))
	pkt := make([]byte, n+len(payload))
	copy(pkt[n:], payload)
	packet.PutUDP(pkt, &h)
	return pkt
}

// echo answers every datagram with itself, a long one in fragments.
func echo(h packet.UDP, payload []byte) [][]byte {
	if len(payload) <= packet.MaxWhole6 || h.Dst.Addr().Is4() {
		return [][]byte{respond(h, payload)}
	}
	h.Src, h.Dst = h.Dst, h.Src
	b := append(make([]byte, packet.UDP6Overhead), payload...)
	tail := make([]byte, packet.MaxTail)
	first, second := packet.SplitUDP(b, tail, &h)
	return [][]byte{b[:first], tail[:second]}
}

// start runs a client on a loopback listener over a fake tunnel until the test
// ends.
func start(t testing.TB, f *fakeTunnel, change func(*conf.Client)) *Client {
	t.Helper()
	return startWith(t, f, gate.Files(), change)
}

// files is how many descriptors a process has to have for applications to have so many of them.
func files(applications int) int { return applications + 64 }

// spare is how many descriptors applications may still take, of a client that has not very many.
func spare(c *Client) (n int) {
	for c.crowd.Descriptors.Take(1) {
		n++
	}
	c.crowd.Descriptors.Give(int64(n))
	return n
}

// startWith is start in a process that may have so many files open.
func startWith(t testing.TB, f *fakeTunnel, files int, change func(*conf.Client)) *Client {
	t.Helper()
	cfg := conf.DefaultClient()
	cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	if change != nil {
		change(cfg)
	}
	c, err := newClient(cfg, nopLog, f, files)
	if err != nil {
		t.Fatal(err)
	}
	f.client = c
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run does not end")
		}
		f.wg.Wait()
		if n := c.ports.used(); n != 1+forwardPeers(c) { // the resolver's
			t.Errorf("%d inner ports are still in use", n)
		}
	})
	return c
}

func forwardPeers(c *Client) (n int) {
	for _, f := range c.front.forwards() {
		n += f.count()
	}
	return n
}

// dial connects to the client's first listener.
func dial(t testing.TB, c *Client) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", c.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*net.TCPConn)
}

// talk writes in and returns as many bytes as want has.
func talk(t testing.TB, conn net.Conn, in []byte, want int) []byte {
	t.Helper()
	if _, err := conn.Write(in); err != nil {
		t.Fatal(err)
	}
	out := make([]byte, want)
	n, err := io.ReadFull(conn, out)
	if err != nil {
		t.Fatalf("after % x: read % x, %v", in, out[:n], err)
	}
	return out
}

var eventually = muxtest.Eventually

// cancelled is a context that has ended.
func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
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
