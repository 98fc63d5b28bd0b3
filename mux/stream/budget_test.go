package stream

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// Unread data is charged to the stream that holds it: who speaks when there is too much
// is served, and who holds the most is reset, also when a writer that is stuck has it
// in its hands.
func TestStreamBudgetIsTheHolders(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		q := newQuietTable(10)
		q.budget.Store(80_000)
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
		feed(1, 0, syn, 1900) // six large buffers and a small one are more than 100,000 bytes, a quarter over
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
		if n := q.held.Load(); n != 2048 {
			t.Errorf("stuck %v: %d bytes are counted, not one buffer", stuck, n)
		}
		n := make([]byte, 8000)
		if k, err := q.opened[1].Read(n); k != 1900 || err != nil {
			t.Errorf("the other read %d, %v", k, err)
		}
		q.CloseAll(net.ErrClosed)
	}
}

// Bare segments before a SYN hold nothing.
func TestStreamEarlyBareSegmentsHoldNothing(t *testing.T) {
	q := newQuietTable(10)
	q.Input(maxSegment(packet.TCP{Seq: 1}, "x"))
	one := q.held.Load()
	for range 3 * maxEarly {
		q.Input(maxSegment(packet.TCP{Seq: 2, Flags: packet.FlagACK}, ""))
	}
	if more := q.held.Load() - one; more != 0 {
		t.Errorf("bare segments are charged with %d bytes", more)
	}
	q.Input(maxSegment(packet.TCP{Seq: 0, Flags: syn}, ""))
	if n := q.held.Load(); n != 2048 {
		t.Errorf("%d bytes after the SYN, of one buffer with an unread byte", n)
	}
	q.CloseAll(net.ErrClosed)
}

// Of the server's acknowledgements that overtake its SYN the furthest counts.
func TestStreamEarlyAcknowledgements(t *testing.T) {
	p := NewTable(true, func(*Stream) {}, nil, 10)
	st, err := p.Open(t.Context(), exitAddr, exitAddr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	st.Next(16384).Release()
	answer := func(flags uint8, seq, ack uint32, window uint16) {
		h := packet.TCP{Src: st.remote, Dst: st.local, Flags: flags, Seq: seq, Ack: ack, Window: window}
		if flags&packet.FlagSYN != 0 {
			h.Options = synOptions
		}
		p.Input(maxSegment(h, ""))
	}
	for _, n := range []uint32{1, 5, 3} {
		answer(packet.FlagACK, 1001, st.iss+1+n, uint16(2000+n))
	}
	answer(packet.FlagACK, 1001, st.iss+1+5, 2900)
	answer(packet.FlagSYN|packet.FlagACK, 1000, st.iss+1, 65535)
	st.mu.Lock()
	acked, edge := st.acked, st.edge
	st.mu.Unlock()
	if acked != 5 || edge != 5+2900<<windowShift {
		t.Errorf("%d bytes are acknowledged of 5, and the window ends at %d", acked, edge)
	}
	p.CloseAll(net.ErrClosed)
}

// Streams whose SYN does not come are no more than a few, and leave room for those whose
// SYN does.
func TestStreamsWithoutASYNAreFew(t *testing.T) {
	q := newQuietTable(10 * unheardMost)
	at := func(i int) netip.AddrPort { return netip.AddrPortFrom(packet.ClientHost4, uint16(2000+i)) }
	for i := range 3 * unheardMost {
		q.Input(maxSegment(packet.TCP{Src: at(i), Dst: exitAddr, Seq: 1}, "x"))
	}
	if n := q.Count(); n != unheardMost {
		t.Errorf("%d streams without a SYN", n)
	}
	q.Input(maxSegment(packet.TCP{Src: at(4 * unheardMost), Dst: exitAddr, Flags: syn}, ""))
	q.Input(maxSegment(packet.TCP{Src: at(0), Dst: exitAddr, Flags: syn}, ""))
	q.Input(maxSegment(packet.TCP{Src: at(4*unheardMost + 1), Dst: exitAddr, Seq: 1}, "x"))
	if n := q.Count(); len(q.opened) != 2 || n != unheardMost+2 {
		t.Errorf("%d streams, of which %d were opened: want one more, and one in the place of what its SYN has opened", n, len(q.opened))
	}
	q.CloseAll(net.ErrClosed)
	if n := q.unheard.Load(); n != 0 {
		t.Errorf("%d are counted after the end", n)
	}
}

// What waits to be sent is charged as well, and all of it together is a quarter of the
// budget however many streams there are, but a segment each: a peer that takes nothing
// of many streams holds no more.
func TestStreamSendBuffersAreShared(t *testing.T) {
	const streams = 40
	q := newQuietTable(streams)
	q.SetBudget(4 << 20)
	for i := range streams {
		q.Input(maxSegment(packet.TCP{Src: netip.AddrPortFrom(packet.ClientHost4, uint16(2000+i)), Dst: exitAddr, Flags: syn}, ""))
	}
	var writers sync.WaitGroup
	for _, st := range q.opened {
		writers.Go(func() { _, _ = st.Write(make([]byte, 1<<20)) })
	}
	full := func() bool {
		for _, st := range q.opened {
			st.mu.Lock()
			waiting := st.waiting > 0
			st.mu.Unlock()
			if !waiting {
				return false
			}
		}
		return true
	}
	for end := time.Now().Add(20 * time.Second); !full() && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if n := q.held.Load(); n < 1<<20 || n > 1<<20+streams*17<<10 {
		t.Errorf("%d streams hold %d bytes to be sent, of a quarter of 4 MiB", streams, n)
	}
	q.CloseAll(net.ErrClosed)
	writers.Wait()
	if n := q.Held(); n != 0 {
		t.Errorf("%d bytes after the end", n)
	}
}

// TestGuardedPortsAreCharged: streams that are reset leave a record for half a minute, and whoever
// opens and resets tens of thousands holds megabytes.
func TestGuardedPortsAreCharged(t *testing.T) {
	q := newQuietTable(10)
	const n = 2000
	for i := range n {
		from := netip.AddrPortFrom(packet.ClientHost4, uint16(2000+i))
		q.Input(maxSegment(packet.TCP{Src: from, Dst: exitAddr, Flags: syn}, ""))
		q.Input(maxSegment(packet.TCP{Src: from, Dst: exitAddr, Seq: 1, Flags: packet.FlagRST}, ""))
	}
	if q.Count() != 0 || len(q.guard.young) != n {
		t.Fatalf("%d streams, %d port pairs are guarded", q.Count(), len(q.guard.young))
	}
	if held := q.Held(); held < n*int64(unsafe.Sizeof(packet.Key{})) {
		t.Errorf("%d guarded port pairs count %d bytes", n, held)
	}
}

// When half of the budget is held by streams that nobody reads, the others go on, with
// small windows; and who holds the most ends when all of it is.
func TestStreamWindowsAreNarrowWhenItIsTight(t *testing.T) {
	p := newPipe(t, false, 100)
	p.server.SetBudget(1 << 20)
	idle, unread := p.pair()
	written := make(chan error, 1)
	go func() { _, err := idle.Write(make([]byte, 2<<20)); written <- err }()
	for end := time.Now().Add(20 * time.Second); p.server.held.Load() < 250<<10 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	second, other := p.pair() // holds its window as well: more than a half
	go func() { _, _ = second.Write(make([]byte, 2<<20)) }()
	for end := time.Now().Add(20 * time.Second); !p.server.tight() && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	busy, reader := p.pair()
	go func() { _, _ = busy.Write(make([]byte, 4<<20)); _ = busy.CloseWrite() }()
	most := uint64(0)
	got := 0
	for b := make([]byte, 4096); ; {
		n, err := reader.Read(b)
		if got += n; err != nil {
			break
		}
		if got > initialWindow {
			reader.mu.Lock()
			most = max(most, reader.promised-reader.read())
			reader.mu.Unlock()
		}
	}
	if got != 4<<20 || most > tightWindow {
		t.Errorf("of 4 MiB %d bytes came, with a window of %d", got, most)
	}
	if p.server.Cut() != 0 {
		t.Error("a stream was cut within the budget")
	}
	for _, st := range []*Stream{idle, unread, second, other, busy, reader} {
		st.Reset()
	}
	<-written
	p.empty()
}
