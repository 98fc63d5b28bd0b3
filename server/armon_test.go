package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// armon/go-socks5 is of 2016. What it may see, and for how long, is bounded here.

// pipeStream is a stream in memory.
type pipeStream struct{ net.Conn }

func (s pipeStream) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(packet.ServerHost4, packet.ExitPort))
}

func (s pipeStream) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(packet.ClientHost4, 1))
}

func (s pipeStream) Pour(w io.Writer, _ func([]byte) (int, bool), ended func(n int64, err error)) {
	go func() { ended(io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{s.Conn})) }()
}

func (s pipeStream) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{s.Conn}, struct{ io.Reader }{r})
}
func (s pipeStream) CloseWrite() error { return nil }
func (s pipeStream) CloseReset()       { s.Close() }
func (s pipeStream) Reset()            { s.Close() }
func (s pipeStream) Begin()            {}
func (s pipeStream) Rest()             {}

func (s pipeStream) AfterFailure(func()) func() bool { return func() bool { return true } }

// TestRequestTakesItsTime: who opens a stream and does not say what it wants loses it,
// however slowly it speaks.
func TestRequestTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{exits: exits{idle: streamIdle}, start: time.Now()}
		s.roll.open(&conf.Server{}, nil)
		s.ctx, s.cancel = context.WithCancel(context.Background())
		defer s.cancel()
		p := newPeer(s, "laptop", newFakeSession())
		defer p.cancel(nil)
		app, far := net.Pipe()
		defer app.Close()
		done := make(chan time.Duration)
		start := time.Now()
		go func() { p.connect(pipeStream{far}); done <- time.Since(start) }()
		var slow sync.WaitGroup
		slow.Go(func() {
			greeting := append([]byte{5, 255}, make([]byte, 255)...)
			for _, c := range greeting { // a byte a second
				if _, err := app.Write([]byte{c}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		if took := <-done; took > requestTimeout+time.Second {
			t.Errorf("took %v", took)
		}
		slow.Wait()
		if n := s.streams.used.Load(); n != 0 {
			t.Errorf("%d streams are held", n)
		}
	})
}

// TestAnswersInOneWrite: a client that asks in one flight is answered in one, which wakes it once; one
// that waits for the answer to its offer gets it, also if that is a refusal.
func TestAnswersInOneWrite(t *testing.T) {
	s := testServer(t, nil, func(s *Server) {
		s.rules.current.Store(&access{from: s.rules.from})
		s.dialer.to = func(context.Context, netip.AddrPort, manner) (tcpio.Socket, error) {
			return nil, classed(errors.New("connection refused"))
		}
	})
	p := newPeer(s, "laptop", newFakeSession())
	offer, request := []byte{5, 1, 0}, []byte{5, 1, 0, 1, 1, 1, 1, 1, 0, 80}
	refused := []byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0}
	for name, flights := range map[string][][2][]byte{
		"all at once":   {{append(bytes.Clone(offer), request...), append([]byte{5, 0}, refused...)}},
		"one by one":    {{offer, {5, 0}}, {request, refused}},
		"a bad request": {{offer, {5, 0}}, {[]byte{5, 1, 0, 9}, {5, 8, 0, 1, 0, 0, 0, 0, 0, 0}}},
		"a password":    {{[]byte{5, 1, 2}, {5, 0xFF}}},
	} {
		app, far := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); p.connect(pipeStream{far}) }()
		_ = app.SetDeadline(time.Now().Add(time.Minute))
		for _, f := range flights {
			if _, err := app.Write(f[0]); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var got [64]byte // a pipe's Read brings one Write
			n, err := app.Read(got[:])
			if err != nil || !bytes.Equal(got[:n], f[1]) {
				t.Errorf("%s: %x is answered by %x, %v, want %x", name, f[0], got[:n], err, f[1])
			}
		}
		if n, err := app.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: then %d bytes, %v", name, n, err)
		}
		app.Close()
		<-done
	}
}

// TestRequestWithData: all that comes with a request goes to its destination, and only that; and armon, which
// would copy with two goroutines more, and wait for them with a third, has none.
func TestRequestWithData(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	for _, size := range []int{0, 1, flightMost - 13, flightMost - 12, flightMost, 5 * flightMost} {
		ln := listenTCP(t, "127.0.0.1:0")
		early := bytes.Repeat([]byte{'a', 'b', 'c'}, 2*flightMost)[:size]
		app, c, done := connectThrough(t, p, ln, string(early))
		got := make([]byte, size)
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, early) {
			t.Errorf("of %d bytes other ones came, %v", size, err)
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(app, make([]byte, 5)); err != nil {
			t.Error(err)
		}
		var stacks bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		if strings.Contains(stacks.String(), "go-socks5.proxy") {
			t.Errorf("armon copies:\n%s", &stacks)
		}
		app.CloseWrite()
		if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
			t.Errorf("%d bytes more came, %v", len(rest), err)
		}
		c.Close()
		<-done
	}
}

// FuzzExit speaks to the CONNECT exit as a client with bad intentions may: nothing is
// dialled that the rules forbid, and what comes back is SOCKS5.
func FuzzExit(f *testing.F) {
	var dialled netip.AddrPort
	s := testServer(f, nil, func(s *Server) {
		s.rules.current.Store(&access{from: s.rules.from})
		askSystem(s, func(_ context.Context, _, host string) ([]netip.Addr, error) {
			if len(host)%2 == 0 {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2606:4700::1"), netip.MustParseAddr("10.0.0.1")}, nil
			}
			return nil, &net.DNSError{Err: "connection refused", Name: host}
		})
		s.dialer.to = func(_ context.Context, to netip.AddrPort, _ manner) (tcpio.Socket, error) {
			dialled = to
			return nil, classed(errors.New("connection refused"))
		}
	})
	p := newPeer(s, "laptop", newFakeSession())
	f.Add([]byte{5, 1, 0, 5, 1, 0, 1, 1, 1, 1, 1, 0, 80})
	f.Add([]byte{5, 1, 0, 5, 1, 0, 4, 0x26, 6, 0x47, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80, 'G', 'E', 'T'})
	f.Add(append([]byte{5, 2, 0, 2, 5, 1, 0, 3, 8}, "even.tst\x00\x50"...))
	f.Add(append([]byte{5, 1, 0, 5, 1, 0, 3, 7}, "odd.tst\x00\x50"...))
	f.Add([]byte{5, 1, 0, 5, 1, 0, 3, 0, 0, 80})
	f.Add(append([]byte{5, 1, 0, 5, 1, 0, 3, 255}, bytes.Repeat([]byte("a"), 257)...))
	f.Add([]byte{5, 1, 0, 5, 2, 0, 1, 127, 0, 0, 1, 0, 80})
	f.Add([]byte{5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{5, 1, 2, 1, 1, 'a', 1, 'b'})
	f.Add([]byte{4, 1, 0, 80, 127, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, said []byte) {
		dialled = netip.AddrPort{}
		app, far := net.Pipe()
		answer := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(app)
			answer <- b
		}()
		go func() {
			_, _ = app.Write(said)
			app.Close() // what it has not taken by now it never will
		}()
		p.connect(pipeStream{far})
		far.Close()
		got := <-answer
		if len(got) > 0 && got[0] != 5 || len(got) > 2 && (got[2] != 5 || len(got) < 12) {
			t.Errorf("answer % x", got)
		}
		if dialled.IsValid() && s.rules.current.Load().verdict(dialled) != dropNone {
			t.Errorf("dialled %s", dialled)
		}
		if n := s.streams.used.Load(); n != 0 {
			t.Errorf("%d streams are held", n)
		}
	})
}
