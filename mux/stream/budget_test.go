package stream

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// Unread data is charged to the stream that holds it: who speaks when there is too much
// is served, and who holds the most is reset, also when a writer that is stuck has it
// in its hands.
func TestStreamBudgetIsTheHolders(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		q := newQuietTable(10)
		q.budget = 100_000
		from := func(n int) netip.AddrPort { return netip.AddrPortFrom(packet.ClientHost4, uint16(2000+n)) }
		feed := func(n int, seq uint32, flags uint8, size int) {
			q.Input(maxSegment(packet.TCP{Src: from(n), Dst: exitAddr, Seq: seq, Flags: flags}, string(make([]byte, size))))
		}
		feed(0, 0, syn, 0)
		hog := q.opened[0]
		var far net.Conn
		done := make(chan error, 1)
		if stuck {
			var near net.Conn
			near, far = net.Pipe()
			feed(0, 1, packet.FlagPSH, 16000)
			go func() { _, err := hog.WriteTo(near); near.Close(); done <- err }()
			if _, err := far.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		} else {
			feed(0, 1, packet.FlagPSH, 16000)
		}
		for i := range 5 {
			feed(0, uint32(16001+16000*i), packet.FlagPSH, 16000)
		}
		feed(1, 0, syn, 5000) // the 101,000th byte
		if len(q.opened) != 2 || q.opened[1].err != nil {
			t.Fatal("who spoke was not served")
		}
		if !errors.Is(hog.err, syscall.ENOBUFS) || q.Cut() != 1 {
			t.Errorf("stuck %v: the holder has %v, %d cut", stuck, hog.err, q.Cut())
		}
		if stuck {
			far.Close()
			<-done
		}
		if n := q.held.Load(); n != 5000 {
			t.Errorf("stuck %v: %d bytes are counted", stuck, n)
		}
		n := make([]byte, 8000)
		if k, err := q.opened[1].Read(n); k != 5000 || err != nil {
			t.Errorf("the other read %d, %v", k, err)
		}
		q.CloseAll(net.ErrClosed)
	}
}

// Bare segments before a SYN hold memory, which is charged and given back.
func TestStreamEarlyBareSegmentsAreCharged(t *testing.T) {
	q := newQuietTable(10)
	q.Input(maxSegment(packet.TCP{Seq: 1}, "x"))
	one := q.held.Load()
	for range 100 {
		q.Input(maxSegment(packet.TCP{Seq: 2, Flags: packet.FlagACK}, ""))
	}
	if more := q.held.Load() - one; more < 100*16 {
		t.Errorf("100 bare segments are charged with %d bytes", more)
	}
	q.Input(maxSegment(packet.TCP{Seq: 0, Flags: syn}, ""))
	if n := q.held.Load(); n != 1 {
		t.Errorf("%d bytes after the SYN, of one unread byte", n)
	}
	q.CloseAll(net.ErrClosed)
}
