package mux

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/handshake"
)

// strangers connects n times and says nothing, anew whenever one is closed.
func strangers(t *testing.T, addr string, n int) {
	t.Helper()
	var wg sync.WaitGroup
	var stopped atomic.Bool
	var conns sync.Map
	up := make(chan struct{}, n)
	for range n {
		wg.Go(func() {
			for first := true; !stopped.Load(); first = false {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				conns.Store(c, nil)
				if first {
					up <- struct{}{}
				}
				_, _ = c.Read(make([]byte, 1))
				c.Close()
				conns.Delete(c)
				time.Sleep(500 * time.Millisecond) // a thousand a second
			}
		})
	}
	for range n {
		<-up
	}
	t.Cleanup(func() {
		stopped.Store(true)
		for done := make(chan struct{}); ; {
			go func() { wg.Wait(); close(done) }()
			for {
				conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
				select {
				case <-done:
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
		}
	})
}

func TestSilentStrangersKeepNobodyOut(t *testing.T) {
	n := newLoopTunnel(t, 1, 1, nil)
	strangers(t, n.addr.String(), gate.Places+100)
	// The kernel has their connections before the listener does.
	eventually(t, "strangers of one address are sent away", func() bool { return n.listener.gate.Counts().Sent > 0 })
	if w := n.listener.gate.Counts(); w.Waiting > gate.Share {
		t.Errorf("one address: %+v", w)
	}
	eventually(t, "they are counted as those for whom there is no room", func() bool { return n.listener.Refusals()[refusedCaps] > 0 })
	client, err := handshake.ClientTLS(n.key, n.serverKey.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	// Who had to wait until strangers go, or were sent away for them, would be each time; a
	// machine that is busy for a moment is so once.
	once := func() (time.Duration, error) {
		begin := time.Now()
		c, err := tls.Dial("tcp", n.addr.String(), client)
		if err != nil {
			return 0, err
		}
		t.Cleanup(func() { c.Close() })
		_, err = handshake.Capable(c, handshake.NewKey(), false)
		return time.Since(begin), err
	}
	for range 5 {
		took, err := once()
		if err == nil && took < patienceOfStrangers/2 {
			return
		}
		t.Logf("an honest client beside %d silent connections: %v, after %v", gate.Places+100, err, took)
	}
	t.Error("and so five times")
}

// together has forty connections of a client, whose TLS is done, ask all at once.
func together(t *testing.T, n *loopTunnel, client *tls.Config, ask func(c net.Conn)) {
	t.Helper()
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range 40 {
		c, err := tls.Dial("tcp", n.addr.String(), client)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		wg.Go(func() {
			<-start
			ask(c)
		})
	}
	close(start)
	wg.Wait()
}

// A client's cap holds also where all come at once.
func TestSessionsPerClientOpenedTogether(t *testing.T) {
	const most = 4
	n := newLoopTunnel(t, 1, 1, func(_ *ClientConfig, l *ListenerConfig) { l.MaxSessionsPerClient = most })
	client, err := handshake.ClientTLS(n.key, n.serverKey.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	var ok atomic.Int64
	together(t, n, client, func(c net.Conn) {
		if _, err := handshake.Capable(c, handshake.NewKey(), false); err == nil {
			ok.Add(1)
		}
	})
	if k := len(n.listener.Sessions()); k > most {
		t.Errorf("%d sessions of one client, whose cap is %d", k, most)
	}
	if ok.Load() > most {
		t.Errorf("%d were opened beside the first, whose cap is %d", ok.Load(), most)
	}
}

// What subflows a session may have holds also where all join at once; and those that have been refused
// leave room.
func TestSubflowsJoinedTogether(t *testing.T) {
	const most = 4
	n := newLoopTunnel(t, 1, 1, func(_ *ClientConfig, l *ListenerConfig) { l.MaxSubflows = most })
	client, err := handshake.ClientTLS(n.key, n.serverKey.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	keys := n.client.Session().keys()
	s := <-n.serverSession
	for range 3 {
		together(t, n, client, func(c net.Conn) {
			_ = handshake.Join(c, handshake.Params{Local: keys.local, Remote: keys.remote, AddrID: 1})
		})
		if k := s.core.count(); k > most {
			t.Fatalf("a session has %d subflows, of %d that it may have", k, most)
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for s.core.count() != most && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	joining := 0
	s.enter(func(*engine.Engine, int64) { joining = s.core.joining })
	if k := s.core.count(); k != most || joining != 0 {
		t.Errorf("%d subflows in the end, of %d; %d are expected", k, most, joining)
	}
}

// slowEnd takes its time to end.
type slowEnd struct {
	*collector
	done atomic.Bool
}

func (s *slowEnd) Closed(err error) {
	time.Sleep(50 * time.Millisecond)
	s.done.Store(true)
}

func TestCloseWaitsBesideAnotherClose(t *testing.T) {
	h := &slowEnd{collector: newCollector()}
	s := newSession(sessionConfig{handler: h})
	go s.Close(nil)
	<-s.end.done
	s.Close(nil)
	if !h.done.Load() {
		t.Error("a second Close returned before the handler had ended")
	}
}

// A client that shows no proof, of an older release, gets its handshake beside a flood
// if its address has proved a key before: the flood has used up what strangers may.
func TestAnAddressThatHasProvedAKeyIsNoStranger(t *testing.T) {
	n := newLoopTunnel(t, 1, 1, nil) // from 127.0.0.1
	n.listener.strangers.SetLimit(0)
	n.listener.strangers.SetBurst(0)
	client, err := handshake.ClientTLS(n.key, n.serverKey.Public().(ed25519.PublicKey)) // no encrypted hello
	if err != nil {
		t.Fatal(err)
	}
	dial := func(from string) error {
		d := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}, Config: client}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		c, err := d.DialContext(ctx, "tcp", n.addr.String())
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := dial("127.0.0.1"); err != nil {
		t.Errorf("from an address that has proved a key: %v", err)
	}
	if err := dial("127.0.0.2"); err == nil {
		t.Error("a stranger gets what nobody pays for")
	}
}

// Where a process may open few files, what has proved nothing and one client with all of its
// sessions have a part of them.
func TestFewFilesAreShared(t *testing.T) {
	for files, want := range map[int][3]int{0: {512, 1024, math.MaxInt}, 64: {16, 4, 6}, 1024: {64, 32, 64}, 1 << 20: {512, 1024, 65536}} {
		got := [3]int{ofFiles(files, 16, 16, gate.Places), ofFiles(files, 32, 4, mostGuests), (&ListenerConfig{MaxFiles: files}).filesOf()}
		if got != want {
			t.Errorf("of %d files: %v, want %v", files, got, want)
		}
	}
	n := newLoopTunnel(t, 1, 1, func(_ *ClientConfig, l *ListenerConfig) { l.MaxFiles = 64 })
	client, err := handshake.ClientTLS(n.key, n.serverKey.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	dial := func() *tls.Conn {
		c, err := tls.Dial("tcp", n.addr.String(), client)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	local := handshake.NewKey()
	r, err := handshake.Capable(dial(), local, false)
	if err != nil {
		t.Fatal(err)
	}
	held := func() int { return n.listener.sessions.files(n.listener.Sessions()[0].identity) }
	have := func(k int) {
		t.Helper()
		eventually(t, fmt.Sprint(k, " descriptors"), func() bool { return held() == k })
	}
	for have(4); err == nil; { // two sessions with a subflow each
		k := held()
		if err = handshake.Join(dial(), handshake.Params{Local: local, Remote: r.Remote, AddrID: 1}); err == nil {
			have(k + 1)
		}
	}
	if reset, ok := errors.AsType[*handshake.ResetError](err); !ok || !reset.Transient {
		t.Errorf("the refusal is %v", err)
	}
	have(6)
	if got := len(n.listener.Sessions()); got != 2 {
		t.Errorf("%d sessions", got)
	}
}

// A flapping listener has no descriptor for every other connection.
type flapping struct {
	left int
	fail bool
}

func (f *flapping) Accept() (net.Conn, error) {
	if f.fail = !f.fail; f.fail {
		return nil, syscall.EMFILE
	}
	if f.left--; f.left < 0 {
		return nil, net.ErrClosed
	}
	near, far := net.Pipe()
	far.Close()
	return knocking{near}, nil
}
func (f *flapping) Close() error   { return nil }
func (f *flapping) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

type knocking struct{ net.Conn }

func (knocking) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// That nothing can be accepted is said, and not again and again when it comes and goes.
func TestCannotAcceptIsSaidSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer // of accept's goroutine alone: warnings
		_, key, _ := ed25519.GenerateKey(nil)
		l, err := Listen(ListenerConfig{Key: key, Log: zerolog.New(zerolog.SyncWriter(&out)).Level(zerolog.WarnLevel)})
		if err != nil {
			t.Fatal(err)
		}
		l.ctx = t.Context()
		l.accept(t.Context(), carrier.Door{Listener: &flapping{left: 50}})
		l.tasks.Wait()
		if n := strings.Count(out.String(), "cannot accept"); n != 1 {
			t.Errorf("said %d times:\n%s", n, out.String())
		}
	})
}
