package mux

import (
	"errors"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
)

// An end in order: what has a DSN arrives, DATA_FIN is acknowledged on both sides, and
// nobody sends MP_FASTCLOSE.
func TestFinishIsAcknowledged(t *testing.T) {
	for _, who := range []string{"client", "server"} {
		t.Run(who, func(t *testing.T) {
			n := newLoopTunnel(t, 2, 2, nil)
			far := <-n.serverSession
			n.send(500, 20000, 400, nil)
			s, other := n.client.Session(), far
			if who == "server" {
				s, other = far, n.client.Session()
			}
			epoch := func(s *Session) uint64 { return s.keys().epoch }
			before, mine := epoch(other), epoch(s)
			s.Finish(ErrClosed)
			s.enter(func(e *engine.Engine, _ int64) {
				// Where the peer has ended the session since, the numbers are gone.
				if e.Epoch() == mine && s.lastAck.Load() != e.FIN()+1 {
					t.Errorf("DATA_FIN at %d, acknowledged up to %d", e.FIN(), s.lastAck.Load())
				}
			})
			if who == "client" {
				select {
				case err := <-n.far.ended:
					if !errors.Is(err, ErrPeerClosed) {
						t.Errorf("the server's session ended with %v", err)
					}
				case <-time.After(15 * time.Second):
					t.Error("the server's session lives on")
				}
				if lost, _ := n.far.missing(500); lost > 0 {
					t.Errorf("%d packets are lost", lost)
				}
				return
			}
			// A client whose server ends begins a new session.
			eventually(t, "the client begins anew", func() bool { return epoch(other) > before+1 && other.Snapshot().Up })
		})
	}
}

// A DATA_FIN before the bytes in front of it is no end; it comes again.
func TestFinBehindAGap(t *testing.T) {
	var w receiveSpace
	w.reset(100, 1)
	if w.finish(1, 101) {
		t.Error("bytes are missing, and it counts")
	}
	if !w.finish(1, 100) || w.next.Load() != 101 {
		t.Errorf("the Data ACK is %d", w.next.Load())
	}
	if !w.finish(1, 100) || w.next.Load() != 101 {
		t.Error("its repetition does not count, or twice")
	}
}

// A peer that does not answer does not hold the end.
func TestFinishOfADeadPeer(t *testing.T) {
	n := newLoopTunnel(t, 1, 1, nil)
	s := n.client.Session()
	for _, f := range s.core.connections() {
		f.carrier.(*carrier.TLS).TCP().SetReadDeadline(time.Now().Add(-time.Second)) // nothing is heard any more
	}
	begin := time.Now()
	s.Finish(ErrClosed)
	if took := time.Since(begin); took > 10*finishLimit { // without one it would never end
		t.Errorf("it took %v", took)
	}
}
