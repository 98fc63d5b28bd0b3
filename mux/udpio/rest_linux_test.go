//go:build linux && !mpsocks_portable

package udpio

import (
	"net"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/lull"
)

// until calls step until it says true.
func until(t *testing.T, what string, step func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !step(); {
		if time.Now().After(end) {
			t.Fatalf("%s does not come to pass", what)
		}
	}
}

// A socket by which datagrams come one by one and often rests: epoll says nothing of what
// comes, which is read when its moment has come, all at once; and when less comes, epoll tells
// of each again.
func TestSocketRests(t *testing.T) {
	l, err := NewLoop(zerolog.Nop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	var k collector
	c := listen(t, l, any4, Options{}, k.handle)
	c.Gather(true)
	u, sent := plain(t, any4), 0
	send := func() {
		t.Helper()
		if _, err := u.WriteToUDPAddrPort(payload(100, sent), c.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		sent++
	}
	until(t, "a rest", func() bool {
		send()
		l.visit(c)
		return len(l.resting) > 0
	})
	before := len(k.got)
	for range 10 {
		send()
	}
	if l.round() || len(k.got) != before {
		t.Fatalf("epoll tells of a socket that rests, %d datagrams were read", len(k.got)-before)
	}
	if l.look(false); len(k.got) != sent {
		t.Errorf("%d of %d datagrams were read", len(k.got), sent)
	}
	until(t, "the end of the rest", func() bool {
		time.Sleep(time.Millisecond)
		l.look(false)
		return len(l.resting) == 0
	})
	if send(); !l.round() || len(k.got) != sent {
		t.Errorf("after the rest %d of %d datagrams were read", len(k.got), sent)
	}
	if l.joined {
		t.Error("the sockets that rest are looked at, and there are none")
	}
}

// One that does not wait for others is read as things come, whatever comes.
func TestSocketDoesNotRest(t *testing.T) {
	l, err := NewLoop(zerolog.Nop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	var k collector
	c := listen(t, l, any4, Options{}, k.handle)
	u := plain(t, any4)
	for range 5000 {
		if _, err := u.WriteToUDPAddrPort(payload(100, 0), c.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if l.visit(c); len(l.resting) > 0 {
			t.Fatal("the socket rests")
		}
	}
}

// flow sends datagrams one by one until stop, and returns how many.
func flow(t *testing.T, u *net.UDPConn, c *Conn, stop func() bool) (sent int) {
	t.Helper()
	until(t, "the end of the flow", func() bool {
		if _, err := u.WriteToUDPAddrPort(payload(100, sent), c.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		sent++
		for next := time.Now().Add(100 * time.Microsecond); time.Now().Before(next); {
		}
		return stop()
	})
	return sent
}

// steady has the reader of a socket know of datagrams that came one by one for a while. On a busy
// machine several are there at each look, and it would not rest.
func steady(c *Conn) {
	c.rest = lull.Reader{}
	for ago := 31 * time.Millisecond; ago > time.Millisecond; ago -= 250 * time.Microsecond {
		c.rest.Brought(100)
		c.rest.Looked(time.Now().Add(-ago).UnixNano(), true)
	}
}

// A Loop whose sockets rest loses nothing, reads others meanwhile, and ends.
func TestLoopWithSocketsThatRest(t *testing.T) {
	rested := make(chan struct{})
	l := startLoop(t, nil)
	var k, other collector
	c := listen(t, l, any4, Options{}, func(c *Conn, msgs []Message) {
		k.handle(c, msgs)
		c.Gather(true)
		if len(l.resting) > 0 { // the Loop's goroutine is this one
			select {
			case <-rested:
			default:
				close(rested)
			}
		} else {
			steady(c)
		}
	})
	o := listen(t, l, any4, Options{}, other.handle)
	u := plain(t, any4)
	resting := func() bool {
		select {
		case <-rested:
			return true
		default:
			return false
		}
	}
	sent := flow(t, u, c, resting)
	flow(t, u, o, func() bool { return true })
	other.wait(t, 1)
	k.wait(t, sent)
	time.Sleep(50 * time.Millisecond)
	sent += flow(t, u, c, func() bool { return true })
	k.wait(t, sent)
	// It is closed, and the Loop ends, while one rests.
	n := 0
	flow(t, u, c, func() bool { n++; return n > 1000 })
}
