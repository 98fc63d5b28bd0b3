package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// fakeStream is a stream over real TCP, with the addresses of one in a tunnel.
type fakeStream struct {
	*net.TCPConn
	fails *failures
}

// failures is whom a fakeStream tells of its failure.
type failures struct {
	mu sync.Mutex
	f  func()
}

func (s fakeStream) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(packet.ServerHost4, packet.ExitPort))
}

func (s fakeStream) Reset() {
	_ = s.SetLinger(0)
	s.Close()
	s.fail()
}

// CloseReset resets when the other end has what was written.
func (s fakeStream) CloseReset() {
	_ = s.SetReadDeadline(time.Unix(1, 0))
	for unsent(s.TCPConn) > 0 {
		time.Sleep(time.Millisecond)
	}
	s.Reset()
}

func (s fakeStream) Begin() {}
func (s fakeStream) Rest()  {}

func (s fakeStream) AfterFailure(f func()) (stop func() bool) {
	s.fails.mu.Lock()
	defer s.fails.mu.Unlock()
	s.fails.f = f
	return func() bool {
		s.fails.mu.Lock()
		defer s.fails.mu.Unlock()
		s.fails.f = nil
		return true
	}
}

// fail tells of a failure.
func (s fakeStream) fail() {
	s.fails.mu.Lock()
	defer s.fails.mu.Unlock()
	if s.fails.f != nil {
		go s.fails.f()
		s.fails.f = nil
	}
}

// Errors of a stream are of no type that a socket has.
func (s fakeStream) Read(b []byte) (int, error) {
	n, err := s.TCPConn.Read(b)
	if errors.Is(err, syscall.ECONNRESET) {
		s.fail()
	}
	return n, streamError(err)
}

func (s fakeStream) Write(b []byte) (int, error) {
	n, err := s.TCPConn.Write(b)
	return n, streamError(err)
}

func (s fakeStream) Pour(w io.Writer, _ func([]byte) (int, bool), ended func(n int64, err error)) {
	go func() { ended(io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{s})) }()
}

func (s fakeStream) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{r})
}

func streamError(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return fmt.Errorf("stream: %w", err)
}

// openStream has p serve a stream and returns the application's end; done is
// closed when the server has let go of it.
func openStream(t testing.TB, p *peer) (app *net.TCPConn, done chan struct{}) {
	t.Helper()
	app, far := tcpPair(t)
	done = make(chan struct{})
	go func() {
		defer close(done)
		p.connect(fakeStream{far, &failures{}})
	}()
	t.Cleanup(func() {
		app.Close()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Error("the stream is still served")
		}
	})
	_ = app.SetDeadline(time.Now().Add(20 * time.Second))
	return app, done
}

func tcpPair(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	ln := listenTCP(t, "127.0.0.1:0")
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn), d.(*net.TCPConn)
}

func listenTCP(t testing.TB, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// ask sends greeting and request in one flight, and whatever is pipelined
// behind, and returns the reply code and BND.
func askConnect(t testing.TB, app net.Conn, command byte, host string, port uint16, pipelined string) (code byte, bnd netip.AddrPort) {
	t.Helper()
	b := []byte{5, 1, 0, 5, command, 0}
	if a, err := netip.ParseAddr(host); err != nil {
		b = append(append(b, 3, byte(len(host))), host...)
	} else if a.Is4() {
		b = append(append(b, 1), a.AsSlice()...)
	} else {
		b = append(append(b, 4), a.AsSlice()...)
	}
	b = binary.BigEndian.AppendUint16(b, port)
	if _, err := app.Write(append(b, pipelined...)); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 6)
	if _, err := io.ReadFull(app, head); err != nil {
		t.Fatalf("no reply: %v", err)
	}
	if !bytes.Equal(head[:3], []byte{5, 0, 5}) {
		t.Fatalf("reply % x", head)
	}
	n := 4
	if head[5] == 4 {
		n = 16
	}
	rest := make([]byte, n+2)
	if _, err := io.ReadFull(app, rest); err != nil {
		t.Fatal(err)
	}
	a, _ := netip.AddrFromSlice(rest[:n])
	return head[3], netip.AddrPortFrom(a, binary.BigEndian.Uint16(rest[n:]))
}

// connectTo has p connect to a listener of this machine, with what is pipelined behind the
// request.
func connectTo(t testing.TB, p *peer, ln net.Listener, pipelined string) (app *net.TCPConn, done chan struct{}) {
	t.Helper()
	app, done = openStream(t, p)
	if code, _ := askConnect(t, app, 1, "127.0.0.1", portOf(ln), pipelined); code != 0 {
		t.Fatalf("reply %d", code)
	}
	return app, done
}

// connectThrough is connectTo with the target's end of it.
func connectThrough(t testing.TB, p *peer, ln net.Listener, pipelined string) (app, target *net.TCPConn, done chan struct{}) {
	t.Helper()
	app, done = connectTo(t, p, ln, pipelined)
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return app, c.(*net.TCPConn), done
}

func portOf(ln net.Listener) uint16 { return uint16(ln.Addr().(*net.TCPAddr).Port) }

func TestConnectReplies(t *testing.T) {
	s := testServer(t, func(c *conf.Server) {
		c.Relay.Deny = allow(t, "127.0.0.9")
	}, func(s *Server) {
		askSystem(s, func(_ context.Context, _, host string) ([]netip.Addr, error) {
			switch host {
			case "both.test":
				return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:127.0.0.1"), netip.MustParseAddr("::1")}, nil
			case "inside.test":
				return []netip.Addr{netip.MustParseAddr("192.168.0.1"), netip.MustParseAddr("fe80::1%lo")}, nil
			}
			return nil, &net.DNSError{Err: "connection refused, network is unreachable", Name: host}
		})
	})
	p := newPeer(s, "laptop", newFakeSession())
	ln := listenTCP(t, "127.0.0.1:0")
	gone := listenTCP(t, "127.0.0.1:0")
	gone.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	for _, tt := range []struct {
		name    string
		command byte
		host    string
		port    uint16
		want    byte
	}{
		{"connected", 1, "127.0.0.1", portOf(ln), 0},
		{"name, one address of three works", 1, "both.test", portOf(ln), 0},
		{"refused", 1, "127.0.0.1", portOf(gone), 5},
		{"private", 1, "192.168.0.1", 80, 2},
		{"private by name", 1, "inside.test", 80, 2},
		{"denied", 1, "127.0.0.9", 80, 2},
		{"tunnel's own", 1, "198.18.0.1", 53, 2},
		{"IPv4-mapped private", 1, "::ffff:10.0.0.1", 80, 2},
		{"port 0", 1, "127.0.0.1", 0, 2},
		{"no such name", 1, "nowhere.test", 80, 4},
		{"empty name", 1, "", 80, 4},
		{"bind", 2, "127.0.0.1", 80, 7},
		{"bind by name", 2, "nowhere.test", 80, 7},
		{"associate", 3, "0.0.0.0", 0, 7},
		{"unknown command", 9, "127.0.0.1", 80, 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			app, done := openStream(t, p)
			code, bnd := askConnect(t, app, tt.command, tt.host, tt.port, "")
			if code != tt.want {
				t.Errorf("reply %d, want %d", code, tt.want)
			}
			if code == 0 && (bnd.Addr() != netip.MustParseAddr("127.0.0.1") || bnd.Port() == 0) {
				t.Errorf("BND %s", bnd)
			}
			if _, err := app.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("after the reply: %v", err)
			}
			app.Close()
			<-done
		})
	}
}

func TestConnectHalfClose(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	ln := listenTCP(t, "127.0.0.1:0")
	bulk := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() { // answers only after the other side has ended
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		got, _ := io.ReadAll(c)
		_, _ = c.Write(got)
	}()
	app, done := connectTo(t, p, ln, "early")
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = app.Write(bulk)
		_ = app.CloseWrite()
	})
	got, err := io.ReadAll(app)
	wg.Wait()
	if err != nil || !bytes.Equal(got, append([]byte("early"), bulk...)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	<-done
	if n := len(s.exits.all); n != 0 {
		t.Errorf("%d exits are left", n)
	}
}

// TestConnectTargetEndsFirst: the target's end reaches the application, which
// may still send.
func TestConnectTargetEndsFirst(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	ln := listenTCP(t, "127.0.0.1:0")
	late := make(chan string, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Write([]byte("bye"))
		_ = c.(*net.TCPConn).CloseWrite()
		b, _ := io.ReadAll(c)
		late <- string(b)
	}()
	app, _ := connectTo(t, p, ln, "")
	if b, err := io.ReadAll(app); string(b) != "bye" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	_, _ = app.Write([]byte("late"))
	app.Close()
	if got := <-late; got != "late" {
		t.Errorf("target got %q", got)
	}
}

// TestConnectReset: a reset on one side is a reset on the other.
func TestConnectReset(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	ln := listenTCP(t, "127.0.0.1:0")
	start := func() (app, target *net.TCPConn) {
		app, target, _ = connectThrough(t, p, ln, "x")
		if _, err := target.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return app, target
	}
	app, target := start()
	_ = target.SetLinger(0)
	target.Close()
	if _, err := app.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("application: %v", err)
	}
	app, target = start()
	_ = app.SetLinger(0)
	app.Close()
	if _, err := target.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("target: %v", err)
	}
	// The session's end resets both.
	app, target = start()
	p.Closed(errors.New("gone"))
	if _, err := app.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("application after the session: %v", err)
	}
	if _, err := target.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("target after the session: %v", err)
	}
}

func TestConnectCapsAndIdle(t *testing.T) {
	s := testServer(t, func(c *conf.Server) { c.Limits.StreamsPerClient = 1 }, nil)
	p := newPeer(s, "laptop", newFakeSession())
	ln := listenTCP(t, "127.0.0.1:0")
	app, target, done := connectThrough(t, p, ln, "")
	second, _ := openStream(t, p)
	if _, err := second.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("beyond the cap: %v", err)
	}
	// What moves stays, what does not goes.
	s.exits.mu.Lock()
	s.exits.idle = 300 * time.Millisecond
	s.exits.mu.Unlock()
	start, last := time.Now(), time.Time{}
	for time.Since(start) < 600*time.Millisecond {
		last = time.Now() // under load that may be long before the next turn
		if _, err := target.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := app.Read(make([]byte, 1)); err != nil {
			t.Fatalf("ended while in use: %v", err)
		}
		if time.Since(last) < 250*time.Millisecond {
			s.exits.expire(s.now())
		}
		time.Sleep(10 * time.Millisecond)
	}
	eventually(t, "idle", func() bool {
		s.exits.expire(s.now())
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	if d := time.Since(last); d < 250*time.Millisecond {
		t.Errorf("ended %v after it moved", d)
	}
	<-done
	if _, err := app.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("idle: %v", err)
	}
}
