package mux

import (
	"crypto/ed25519"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/mux/hands"
	"github.com/mpsocks/mpsocks/mux/handshake"
)

// No more handshakes are worked at than there are benches, in order of arrival, and one that
// waits for somebody has none.
func TestBenches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		of := newBenches(0) // of one processor
		var at, done atomic.Int32
		for range 20 {
			go func() {
				b := of.take()
				for range 3 { // pieces
					if n := at.Add(1); n > 1 {
						t.Errorf("%d at one bench", n)
					}
					time.Sleep(time.Millisecond)
					at.Add(-1)
					b.without(func() { time.Sleep(time.Hour) }) // for the other end
				}
				b.leave()
				done.Add(1)
			}()
		}
		time.Sleep(4 * time.Hour)
		if n := done.Load(); n != 20 || len(of) != 1 {
			t.Errorf("%d of 20 are through, and %d benches are free", n, len(of))
		}
	})
}

// Strangers that wait for what the budget has left for them keep no bench from a client.
func TestWhoWaitsForItsTurnHasNoBench(t *testing.T) {
	n := newLoopTunnel(t, 1, 1, nil) // from 127.0.0.1
	l := n.listener
	all := cap(l.benches)
	client, err := handshake.ClientTLS(n.key, n.serverKey.Public().(ed25519.PublicKey)) // no encrypted hello
	if err != nil {
		t.Fatal(err)
	}
	// once says that a client did not wait for all of as many strangers as there are benches.
	once := func() bool {
		l.strangers.SetBurst(all)
		l.strangers.SetLimit(rate.Limit(float64(all) / (patienceOfStrangers - time.Second/2).Seconds()))
		l.strangers.AllowN(time.Now(), int(l.strangers.Tokens()))
		var through atomic.Int32
		for range all {
			c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext(t.Context(), "tcp", n.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			go func() {
				_ = tls.Client(c, client).Handshake()
				through.Add(1)
			}()
		}
		eventually(t, "strangers wait, or have waited", func() bool { return l.strangers.Tokens() < 0 || through.Load() > 0 })
		c, err := tls.Dial("tcp", n.addr.String(), client)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		return int(through.Load()) < all
	}
	for range 3 { // a busy machine may have been away for so long once
		if once() {
			return
		}
	}
	t.Error("a client had to wait for all strangers, three times")
}

// begun is a Handler that says in which state of the process its session began and ended.
type begun struct {
	Handler
	ended func()
}

func (b *begun) Closed(err error) {
	b.ended()
	b.Handler.Closed(err)
}

// A session begins at a bench and ends in its client's turn: whoever opens and ends them without
// end has no more at work at once than whoever only comes to the door.
func TestSessionsBeginAtABenchAndEndInTurn(t *testing.T) {
	var at atomic.Pointer[Listener]
	free, inTurn := make(chan int, 1), make(chan bool, 1)
	n := newLoopTunnel(t, 1, 1, func(_ *ClientConfig, l *ListenerConfig) {
		accept := l.Accept
		l.Accept = func(s *Session) (Handler, error) {
			l := at.Swap(nil)
			if l == nil {
				return accept(s)
			}
			free <- len(l.benches)
			crowd := hands.NewCrowd(1, nil)
			s.hands = crowd.Hands()
			h, err := accept(s)
			others(crowd)
			return &begun{h, func() { inTurn <- !s.hands.Free() }}, err
		}
	})
	at.Store(n.listener)
	there := func() *Session {
		s := <-n.serverSession
		<-s.keyed
		return s
	}
	there().Close(nil) // the client begins another one
	if n, most := <-free, cap(n.listener.benches); n >= most {
		t.Errorf("%d of %d benches were free when the session began", n, most)
	}
	there().end.shut(nil, false)
	if !<-inTurn {
		t.Error("it ended in nobody's turn")
	}
}

// others has another client of a crowd be about.
func others(c *hands.Crowd) {
	c.Hands().Take().Give()
	c.Hands().Take().Give()
}
