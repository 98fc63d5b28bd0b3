package mux

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A reading reads each stream to its end.
type reading struct {
	counting
	mu   sync.Mutex // guards the rest
	got  int
	err  error
	over bool
}

func (r *reading) Stream(st *Stream) {
	defer st.Close()
	n, err := io.Copy(io.Discard, st)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got, r.err, r.over = int(n), err, true
}

func (r *reading) now() (got int, err error, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got, r.err, r.over
}

// What was written to a stream that was closed before all subflows went arrives when they are back,
// for as long as the session waits for them: after a minute the stream was given up, and the end of what
// a program had sent was lost. Where the session is given up the stream fails, and does not end.
func TestClosedBeforeAnOutage(t *testing.T) {
	const size = 200 << 10
	for _, c := range []struct {
		name string
		out  time.Duration
		dead bool // in silence: the connections stay
	}{
		{"gone", 110 * time.Second, false},
		{"silent", 70 * time.Second, true},
		{"gone for too long", 130 * time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			far := &reading{counting: counting{seen: make(map[uint64]int)}}
			handlers := [2]Handler{&counting{seen: make(map[uint64]int)}, far}
			way := newSimPath(1, 20*time.Millisecond)
			simulateEnds(t, handlers, [2]mptcp.Key{1, 2}, []simPath{way}, func(n *simTunnel) {
				conns := []*simConn{n.join(0), n.join(0)}
				time.Sleep(time.Second)
				st, err := n.ends[0].OpenStream(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(packet.ServerHost4, packet.ExitPort))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := st.Write(make([]byte, size)); err != nil {
					t.Fatal(err)
				}
				st.Close()
				time.Sleep(500 * time.Millisecond) // a third of it
				way.kill()
				if !c.dead {
					for _, k := range conns {
						k.Close()
					}
				}
				time.Sleep(c.out)
				if got, err, over := far.now(); over && c.out < defaultSessionTimeout {
					t.Fatalf("it has ended after %d bytes: %v", got, err)
				}
				way.revive()
				if c.out < defaultSessionTimeout {
					if !c.dead {
						n.join(0)
					}
					time.Sleep(20 * time.Second)
				}
				got, err, over := far.now()
				switch lost := c.out >= defaultSessionTimeout; {
				case !over:
					t.Errorf("the stream has no end, after %d bytes", got)
				case lost && (err == nil || errors.Is(err, io.EOF)):
					t.Errorf("%d of %d bytes came, and then its end", got, size)
				case !lost && (err != nil || got != size):
					t.Errorf("%d of %d bytes came: %v", got, size, err)
				}
			})
		})
	}
}

// A session gives way when it has lost all of its subflows, and neither while it has one nor while its
// first one is on its way.
func TestYield(t *testing.T) {
	handlers := [2]Handler{&counting{seen: make(map[uint64]int)}, &counting{seen: make(map[uint64]int)}}
	simulateEnds(t, handlers, [2]mptcp.Key{1, 2}, []simPath{newSimPath(1, 20*time.Millisecond)}, func(n *simTunnel) {
		s := n.ends[1]
		if s.Yield() {
			t.Error("one whose first subflow is on its way gives way")
		}
		conn := n.join(0)
		time.Sleep(2 * joinTimeout)
		if s.Yield() {
			t.Error("one that is up gives way")
		}
		conn.Close()
		time.Sleep(time.Second)
		if !s.Yield() {
			t.Error("one without a subflow does not give way")
		}
		<-s.end.ended
	})
}
