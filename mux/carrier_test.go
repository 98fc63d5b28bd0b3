package mux

import (
	"context"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/muxtest/pipe"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A session goes over any carrier: two in memory, with frames smaller than a packet, carry
// its datagrams and streams; the engine tunes them, and what one that ends still held goes
// by the other.
func TestSessionOverAnotherCarrier(t *testing.T) {
	got := newCollector()
	got.serve = func(st *Stream) { _, _ = io.CopyN(st, st, 5) }
	ends := [2]*Session{
		newSession(sessionConfig{client: true, handler: newCollector()}),
		newSession(sessionConfig{handler: got}),
	}
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	ends[0].establish(hsClientKey, hsServerKey, false)
	ends[1].establish(hsServerKey, hsClientKey, false)
	for _, s := range ends {
		tasks.Go(func() { s.monitor.run(ctx) })
	}
	var first *pipe.End
	for i := range 2 {
		a, b := pipe.New(8<<10, 1000)
		for e, k := range []*pipe.End{a, b} {
			s := ends[e]
			if err := s.attach(newSubflow(s, s.core.pathOf(uint8(i), netip.MustParseAddrPort("192.0.2.1:1")), k, s.keys())); err != nil {
				t.Fatal(err)
			}
		}
		if i == 0 {
			first = a
		}
	}
	const n = 400
	var src Source
	for i := range n {
		if i == n/2 {
			first.Abort()
		}
		p := testPacket(netip.AddrPortFrom(packet.ClientHost4, 4000), netip.MustParseAddrPort("192.0.2.9:9"), uint64(i), 1400)
		ends[0].Send(&src, []*buf.Buffer{p})
		ends[0].Flush()
		time.Sleep(100 * time.Microsecond)
	}
	got.wait(t, n)
	st, err := ends[0].OpenStream(ctx, netip.MustParseAddrPort("127.0.0.1:1"), netip.AddrPortFrom(packet.ServerHost4, 1080))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	echo := make([]byte, 5)
	if _, err := io.ReadFull(st, echo); err != nil || string(echo) != "hello" {
		t.Errorf("%q, %v", echo, err)
	}
	eventually(t, "the engine tunes the carrier", func() bool {
		tuned := false
		for _, f := range ends[0].core.connections() {
			for _, k := range []carrier.Knob{carrier.Lowat, carrier.Pace, carrier.Congestion} {
				_, set := f.carrier.(*pipe.End).Tuned(k)
				tuned = tuned || set
			}
		}
		return tuned
	})
	eventually(t, "each end has said that it does not look at TCP's checksums", func() bool {
		return ends[0].unsummed.Load() && ends[1].unsummed.Load()
	})
	if left := len(ends[0].core.connections()); left != 1 {
		t.Errorf("%d subflows are left", left)
	}
	ends[0].enter(func(e *engine.Engine, _ int64) {
		if !e.Alive() {
			t.Error("the other one does not move")
		}
	})
	for _, s := range ends {
		s.Close(ErrClosed)
	}
	cancel()
	tasks.Wait()
}
