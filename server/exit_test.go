package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// TestConnectAbandoned: an application that goes away while its CONNECT is being made
// frees its place at once.
func TestConnectAbandoned(t *testing.T) {
	dialing := make(chan struct{})
	s := testServer(t, nil, func(s *Server) {
		s.dialer.to = func(ctx context.Context, _ netip.AddrPort, _ manner) (tcpio.Socket, error) {
			close(dialing)
			<-ctx.Done() // a silent host
			return nil, ctx.Err()
		}
	})
	p := newPeer(s, "laptop", newFakeSession())
	app, far := tcpPair(t)
	defer app.Close()
	st := fakeStream{far, &failures{}}
	done := make(chan struct{})
	go func() { defer close(done); p.connect(st) }()
	if _, err := app.Write([]byte{5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 80}); err != nil {
		t.Fatal(err)
	}
	<-dialing
	st.fail()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("still served long after")
	}
	if n := s.streams.used.Load(); n != 0 {
		t.Errorf("%d streams are held", n)
	}
}

// TestConnectEarlyAnswer: what a server answers to an upload that it does not read
// arrives whole, and then its reset.
func TestConnectEarlyAnswer(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	ln := listenTCP(t, "127.0.0.1:0")
	answer := bytes.Repeat([]byte("413 "), 10_000)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(c, make([]byte, 4))
			_, _ = c.Write(answer)
			for unsent(c.(*net.TCPConn)) > 0 { // the exit's kernel has it
				time.Sleep(time.Millisecond)
			}
			c.Close() // unread data behind it: the kernel resets
		}
	}()
	for i := range 30 {
		app, done := connectTo(t, p, ln, "POST")
		go func() { _, _ = io.Copy(app, zeros{}) }() // until that fails
		got, err := io.ReadAll(app)
		if !bytes.Equal(got, answer) {
			t.Fatalf("%d: %d of %d bytes, then %v", i, len(got), len(answer), err)
		}
		app.Close()
		<-done
	}
}

// zeros is an upload without an end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// TestConnectCutShort: a transfer whose target is reset ends by a reset, also where
// writing has heard of it first.
func TestConnectCutShort(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	ln := listenTCP(t, "127.0.0.1:0")
	part := bytes.Repeat([]byte("part"), 20_000)
	for i := range 30 {
		app, c, done := connectThrough(t, p, ln, "")
		_, _ = c.Write(part)
		for unsent(c) > 0 { // the exit's kernel has it
			time.Sleep(time.Millisecond)
		}
		_ = c.SetLinger(0)
		c.Close()
		_, told := app.Write([]byte("more")) // the kernel tells of a reset once
		got, err := io.ReadAll(app)
		if told != nil {
			err = told
		}
		if !errors.Is(err, syscall.ECONNRESET) || !bytes.Equal(got, part) {
			t.Fatalf("%d: %d of %d bytes, then %v", i, len(got), len(part), err)
		}
		app.Close()
		<-done
	}
}

// TestConnectHalfClosedIdle: a connection that is half closed is as idle as it may be
// when it is open.
func TestConnectHalfClosedIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := exits{idle: streamIdle}
		start := time.Now()
		e := newExit(t.Context(), new(peer), new(client), nil)
		table.add(e, 0)
		time.Sleep(streamIdle - time.Second)
		table.expire(int64(time.Since(start)))
		if e.killed.Load() {
			t.Error("ended before its time")
		}
	})
}

// A target that never acknowledges is asked some dozens of times in all, and soon at first.
func TestTargetsAreAskedRarely(t *testing.T) {
	asks, soon, pause := 0, 0, sentPause
	for at := time.Duration(0); at < sentTime; at += pause {
		if asks++; at < 100*time.Millisecond {
			soon++
		}
		pause = rarer(pause)
	}
	if asks > 80 || soon < 5 {
		t.Errorf("%d times, %d of them in a tenth of a second", asks, soon)
	}
}
