package mux

import (
	"net/netip"
	"testing"

	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/muxtest/pipe"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A packet in the middle of a batch has a DSS of 14 bytes; numbers are sent in full where a
// half would not say which, as on a new subflow, and the Data ACK to a peer that does so.
func TestHeads(t *testing.T) {
	s := newSession(sessionConfig{client: true, handler: newCollector()})
	defer s.Close(ErrClosed)
	s.establish(hsClientKey, hsServerKey, false)
	near, far := pipe.New(64<<10, 16384)
	f := newSubflow(s, s.core.pathOf(0, netip.MustParseAddrPort("192.0.2.1:1")), near, s.keys())
	first := hsClientKey.IDSN() + 1
	var read mptcp.Half
	var ssn uint32 = 1
	for _, c := range []struct {
		name   string
		halves bool // what the peer sends
		full   bool
		dsn    uint64
		lens   [2]int // of two packets, one behind the other
	}{
		{"new", false, false, first, [2]int{26, 14}},
		{"a peer that sends all of its numbers", false, false, first + 4000, [2]int{22, 14}},
		{"one that does not", true, false, first + 8000, [2]int{18, 14}},
		{"again, of what another held", true, false, first + 2000, [2]int{18, 14}},
		{"others carried 3 GiB in between", true, false, first + 3<<30, [2]int{22, 14}},
		{"a fast session", true, true, first + 3<<30 + 4000, [2]int{22, 18}},
	} {
		s.space.halves.Store(c.halves)
		for i := range uint64(2) {
			p := testPacket(netip.AddrPortFrom(packet.ClientHost4, 4000), netip.MustParseAddrPort("192.0.2.9:9"), i, 100)
			f.batch = append(f.batch, engine.Outgoing{P: p, DSN: c.dsn + i*uint64(p.Len()), Full: c.full})
		}
		if _, err := f.write(nil); err != nil {
			t.Fatal(err)
		}
		f.batch = f.batch[:0]
		var room [4096]byte
		n, err := far.Read(room[:])
		if err != nil {
			t.Fatal(err)
		}
		b := room[:n]
		for i, want := range c.lens {
			var o mptcp.Option
			n, err := o.Parse(b, false)
			if err != nil {
				t.Fatal(err)
			}
			d := &o.DSS
			if n != want || d.HasAck != (i == 0) || d.SSN != ssn {
				t.Errorf("%s: packet %d: a DSS of %d bytes, want %d: %+v", c.name, i, n, want, *d)
			}
			if got := read.Read(d.DSN, d.DSN8, 0); got != c.dsn+uint64(i)*uint64(d.Length) {
				t.Errorf("%s: packet %d: DSN %#x", c.name, i, got)
			}
			ssn += uint32(d.Length)
			b = b[n+d.PayloadLen():]
		}
	}
}
