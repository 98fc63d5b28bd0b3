package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/tcpio"
	"github.com/mpsocks/mpsocks/server/names"
	"github.com/mpsocks/mpsocks/server/names/namestest"
)

// TestLookupsOfConnects count in the quota of names, and wait for their turn.
func TestLookupsOfConnects(t *testing.T) {
	release := make(chan struct{})
	ln := listenTCP(t, "127.0.0.1:0")
	go func() {
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			c.Close()
		}
	}()
	at := namestest.Server(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		<-release
		if m.Questions[0].Type == dnsmessage.TypeA {
			return namestest.AddA(m, 0, "127.0.0.1")
		}
		return &m
	})
	s := testServer(t, nil, func(s *Server) {
		s.resolver = names.New(s.ctx, names.Config{All: 8, Each: 2, Sources: sourcesOf(at)})
	})
	p := newPeer(s, "laptop", newFakeSession())
	codes := make(chan byte, 5)
	for i := range 5 {
		app, _ := openStream(t, p)
		go func() {
			code, _ := askConnect(t, app, 1, "name"+string(rune('a'+i))+".test", portOf(ln), "")
			codes <- code
		}()
	}
	eventually(t, "two are asked for", func() bool { return s.resolver.Held() == 2 })
	time.Sleep(20 * time.Millisecond) // the others are there by now, most likely
	if n := s.resolver.Held(); n != 2 {
		t.Errorf("%d names are being resolved", n)
	}
	close(release)
	for range 5 {
		if code := <-codes; code != 0 {
			t.Errorf("reply %d", code)
		}
	}
	// The questions for IPv6 may end after the replies.
	eventually(t, "none is held", func() bool { return s.resolver.Held() == 0 })
}

// A client hears that a name is known, and not before, though nobody answers at its address;
// of an address it hears nothing until it is reached or not.
func TestConnectSaysThatANameIsKnown(t *testing.T) {
	release := make(chan struct{})
	at := namestest.Server(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		<-release
		if m.Questions[0].Type == dnsmessage.TypeA {
			return namestest.AddA(m, 0, "127.0.0.1")
		}
		return &m
	})
	s := testServer(t, nil, func(s *Server) { askOnly(s, at) })
	dialled, end := make(chan struct{}), make(chan struct{})
	s.dialer.to = func(context.Context, netip.AddrPort, manner) (tcpio.Socket, error) {
		dialled <- struct{}{}
		<-end
		return nil, &dialError{"nobody answers", nil}
	}
	p := newPeer(s, "laptop", newFakeSession())
	silent := func(app *net.TCPConn) {
		t.Helper()
		_ = app.SetReadDeadline(time.Now().Add(2 * knownTime))
		if n, err := app.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes came: %v", n, err)
		}
		_ = app.SetReadDeadline(time.Now().Add(20 * time.Second))
	}
	app, _ := openStream(t, p)
	_, _ = app.Write(append([]byte{5, 1, 0, 5, 1, 0, 3, 9}, "name.test\x00\x50"...))
	eventually(t, "it is asked for", func() bool { return s.resolver.Held() == 1 })
	silent(app)
	close(release)
	<-dialled
	var method [2]byte
	if _, err := io.ReadFull(app, method[:]); err != nil || method != [2]byte{5, 0} {
		t.Errorf("% x, %v", method, err)
	}
	end <- struct{}{}
	app, _ = openStream(t, p)
	_, _ = app.Write([]byte{5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 80})
	<-dialled
	silent(app)
	end <- struct{}{}
}

// TestRebinding: a name's addresses are public when they are looked at and private when
// they are asked for again, at once. What was judged is what is connected to, and a name
// is judged each time; a mapped or translated form in an answer is what it leads to.
func TestRebinding(t *testing.T) {
	trap := listenTCP(t, "127.0.0.1:0") // must not be reached
	var trapped atomic.Int32
	go func() {
		for {
			c, err := trap.Accept()
			if err != nil {
				return
			}
			trapped.Add(1)
			c.Close()
		}
	}()
	var asked atomic.Int32
	at := namestest.Server(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		q := m.Questions[0]
		switch name := q.Name.String(); {
		case name == "rebind.test." && q.Type == dnsmessage.TypeA:
			if asked.Add(1)%2 == 1 {
				return namestest.AddA(m, 0, "192.0.2.1")
			}
			return namestest.AddA(m, 0, "127.0.0.1")
		case name == "mixed.test." && q.Type == dnsmessage.TypeA:
			return namestest.AddA(m, 0, "127.0.0.1", "192.0.2.1", "10.0.0.1", "0.0.0.0", "224.0.0.1")
		case name == "mixed.test.":
			return namestest.AddAAAA(m, 0, "::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "::1", "::", "fe80::1", "ff02::1", "::127.0.0.1")
		}
		return &m
	})
	var dialled sync.Map
	s := testServer(t, func(c *conf.Server) { c.Relay.Allow = nil }, func(s *Server) {
		askOnly(s, at)
		s.dialer.to = func(_ context.Context, to netip.AddrPort, _ manner) (tcpio.Socket, error) {
			dialled.Store(to, true)
			return nil, &dialError{wordRefused, nil}
		}
	})
	p := newPeer(s, "laptop", newFakeSession())
	port := portOf(trap)
	ask := func(host string) byte {
		app, done := openStream(t, p)
		code, _ := askConnect(t, app, 1, host, port, "")
		app.Close()
		<-done
		return code
	}
	for i := range 6 { // each CONNECT is judged anew
		want := byte(5) // the public one was dialled
		if i%2 == 1 {
			want = 2
		}
		if got := ask("rebind.test"); got != want {
			t.Errorf("time %d: reply %d, want %d", i, got, want)
		}
	}
	if got := ask("mixed.test"); got != 5 {
		t.Errorf("a name with one public address: reply %d", got)
	}
	// Numbers that the C library would take for 127.0.0.1 are names, which nobody has.
	for _, host := range []string{"127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "127.0.0.1.", "::ffff:7f00:1", "[::1]", "::1%lo", "0", "0.0.0.0"} {
		if got := ask(host); got == 0 || got == 5 {
			t.Errorf("%s: reply %d", host, got)
		}
	}
	dialled.Range(func(to, _ any) bool {
		if a := to.(netip.AddrPort).Addr(); a != netip.MustParseAddr("192.0.2.1") {
			t.Errorf("%s was dialled", to)
		}
		return true
	})
	if n := trapped.Load(); n > 0 {
		t.Errorf("loopback was reached %d times", n)
	}
}

// TestTheOtherFamilyComesLate: of a name whose IPv6 addresses may not be reached, or do not
// answer, the IPv4 ones are used that come after them, and what is being asked is counted
// until all is answered.
func TestTheOtherFamilyComesLate(t *testing.T) {
	release := make(chan struct{})
	at := namestest.Server(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		if q := m.Questions[0]; q.Type == dnsmessage.TypeAAAA {
			if q.Name.String() == "inside.test." {
				return namestest.AddAAAA(m, 0, "fd00::1")
			}
			return namestest.AddAAAA(m, 0, "2001:db8::1")
		}
		<-release
		return namestest.AddA(m, 0, "192.0.2.1")
	})
	works := listenTCP(t, "127.0.0.1:0")
	go func() {
		for {
			c, err := works.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	s := testServer(t, func(c *conf.Server) { c.Relay.Allow = nil }, func(s *Server) {
		askOnly(s, at)
		s.dialer.to = func(_ context.Context, to netip.AddrPort, _ manner) (tcpio.Socket, error) {
			if to.Addr().Is6() {
				return nil, &dialError{wordNetwork, nil}
			}
			c, err := net.Dial("tcp", works.Addr().String())
			if err != nil {
				return nil, err
			}
			return c.(*net.TCPConn), nil
		}
	})
	p := newPeer(s, "laptop", newFakeSession())
	codes := make(chan byte, 2)
	for _, host := range []string{"inside.test", "outside.test"} {
		app, _ := openStream(t, p)
		go func() {
			code, _ := askConnect(t, app, 1, host, 443, "")
			codes <- code
			app.Close()
		}()
	}
	eventually(t, "both are being asked for", func() bool { return s.resolver.Held() == 2 })
	time.Sleep(50 * time.Millisecond) // both have their IPv6 addresses by now, most likely; the questions go on
	if n := s.resolver.Held(); n != 2 {
		t.Errorf("%d names are counted as being asked for", n)
	}
	close(release)
	for range 2 {
		if code := <-codes; code != 0 {
			t.Errorf("reply %d", code)
		}
	}
	eventually(t, "nothing is asked any more", func() bool { return s.resolver.Held() == 0 })
}

// TestConnectToALateName: a CONNECT waits for a name that takes six seconds, and after five no
// longer in a place that others need.
func TestConnectToALateName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{exits: exits{idle: streamIdle}, start: time.Now(), dialer: newDialer(nil)}
		s.dialer.to = func(context.Context, netip.AddrPort, manner) (tcpio.Socket, error) {
			return nil, classed(errors.New("connection refused"))
		}
		s.rules.current.Store(&access{})
		s.roll.open(&conf.Server{}, nil)
		s.ctx, s.cancel = context.WithCancel(context.Background())
		defer s.cancel()
		from := sourcesOf(netip.MustParseAddrPort("192.0.2.53:53"))
		from.Ask = namestest.Late(6 * time.Second)
		s.resolver = names.New(s.ctx, names.Config{All: 64, Each: 64, Sources: from})
		p := newPeer(s, "laptop", newFakeSession())
		defer p.cancel(nil)
		app, far := net.Pipe()
		defer app.Close()
		done := make(chan struct{})
		go func() { defer close(done); p.connect(pipeStream{far}) }()
		begun := time.Now()
		if _, err := app.Write(append([]byte{5, 1, 0, 5, 1, 0, 3, 9}, "late.test\x01\xbb"...)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := s.resolver.Held(); n != 1 {
			t.Errorf("%d names are being asked for", n)
		}
		got := make([]byte, 12)
		if _, err := io.ReadFull(app, got[:2]); err != nil || time.Since(begun) != 5*time.Second {
			t.Errorf("the offer is answered after %v: %v", time.Since(begun), err)
		}
		synctest.Wait()
		if n := s.resolver.Held(); n != 0 {
			t.Errorf("%d places are still held", n)
		}
		if _, err := io.ReadFull(app, got[2:]); err != nil || time.Since(begun) != 6*time.Second || !bytes.Equal(got[:4], []byte{5, 0, 5, 5}) {
			t.Errorf("% x after %v: %v", got, time.Since(begun), err)
		}
		<-done
	})
}
