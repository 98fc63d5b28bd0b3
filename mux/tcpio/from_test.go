package tcpio

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Who may not come in is reset and holds nothing, and nobody else is: those behind him come in. Nothing is done outside
// a turn, and a listener can be closed while many come who may not.
func TestAcceptFrom(t *testing.T) {
	type (
		may  = func(netip.Addr) bool
		turn = func(func() bool)
	)
	for name, accept := range map[string]func(*Listener, may, turn) (Socket, error){
		"the listener's own": (*Listener).AcceptFrom,
		"another's":          func(l *Listener, m may, s turn) (Socket, error) { return AcceptFrom(l.Accept, m, s) },
	} {
		t.Run(name, func(t *testing.T) { testAcceptFrom(t, accept) })
	}
}

func testAcceptFrom(t *testing.T, accept func(l *Listener, may func(netip.Addr) bool, turn func(func() bool)) (Socket, error)) {
	ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := ln.Addr()
	l, err := Listen(ln)
	if err != nil {
		t.Fatal(err)
	}
	var inTurn, open bool
	asked := 0
	may := func(from netip.Addr) bool {
		if asked++; !inTurn || from != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("asked about %v, in turn: %v", from, inTurn)
		}
		return open || asked%20 == 0
	}
	var steps atomic.Int64
	turn := func(step func() bool) {
		inTurn = true
		step()
		inTurn = false
		steps.Add(1)
	}
	all := make([]net.Conn, 40)
	for i := range all {
		if all[i], err = net.Dial("tcp", at.String()); err != nil {
			t.Fatal(err)
		}
		defer all[i].Close()
	}
	var in []net.Conn
	for range 2 {
		c, err := accept(l, may, turn)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		in = append(in, c)
	}
	for i, c := range all {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if (i+1)%20 != 0 {
			if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("number %d may not come in and gets %v", i, err)
			}
			continue
		}
		if _, err := in[i/20].Write([]byte{byte(i)}); err != nil {
			t.Error(err)
		}
		b := []byte{0}
		if _, err := io.ReadFull(c, b); err != nil || b[0] != byte(i) {
			t.Errorf("number %d came in and reads %d, %v", i, b, err)
		}
	}
	over := make(chan error, 1)
	go func() {
		_, err := accept(l, func(netip.Addr) bool { return false }, turn)
		over <- err
	}()
	var stop atomic.Bool
	var many sync.WaitGroup
	many.Go(func() {
		for !stop.Load() {
			if c, err := net.Dial("tcp", at.String()); err == nil { // else it was reset meanwhile
				c.Close()
			}
		}
	})
	for before := steps.Load(); steps.Load() < before+10; {
		time.Sleep(time.Millisecond)
	}
	l.Close()
	select {
	case err := <-over:
		if !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it still accepts and was closed")
	}
	stop.Store(true)
	many.Wait()
}
