package stream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A sink is a server's stream whose WriteTo writes to a socket.
type sink struct {
	*quietTable
	st  *Stream
	far *net.TCPConn // the socket's other end
	seq uint32       // of the next segment
	n   int64        // what WriteTo returned, after err
	err chan error
}

// newSink opens the stream and returns when its WriteTo waits.
func newSink(t *testing.T) *sink { return newSinkOf(t, (*Stream).WriteTo) }

// newSinkOf is newSink for whatever writes as WriteTo does.
func newSinkOf(t *testing.T, write func(*Stream, io.Writer) (int64, error)) *sink {
	t.Helper()
	if !vectored {
		t.Skip("what comes goes by WriteTo's own goroutine on this system")
	}
	near, far := sockets(t)
	_ = near.SetWriteBuffer(16 << 10) // less than the tests bring
	_ = far.SetReadBuffer(16 << 10)
	k := &sink{quietTable: newQuietTable(10), far: far, seq: 1, err: make(chan error, 1)}
	k.Input(maxSegment(packet.TCP{Flags: packet.FlagSYN}, ""))
	k.st = k.opened[0]
	go func() {
		var err error
		k.n, err = write(k.st, near)
		near.CloseWrite()
		k.err <- err
	}()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		k.st.mu.Lock()
		waits := k.st.outlet != nil
		k.st.mu.Unlock()
		if waits {
			return k
		}
		if time.Now().After(end) {
			t.Fatal("WriteTo does not come to wait")
		}
	}
}

// next is the segment with the data that follows.
func (k *sink) next(data []byte, flags uint8) []byte {
	pkt := maxSegment(packet.TCP{Seq: k.seq, Flags: flags}, string(data))
	k.seq += uint32(len(data))
	return pkt
}

// What one reader brings for a stream goes from the reader's memory into WriteTo's socket,
// without a buffer of ours, also when it came in another order; and the end behind it.
func TestInboxWritesItself(t *testing.T) {
	k := newSink(t)
	in := k.Inbox()
	var all []byte
	for round := range 20 {
		var pkts [][]byte
		before := len(all)
		for i := range 6 {
			part := bytes.Repeat([]byte{byte(round), byte(i)}, 1+(round*7+i*13)%300)
			pkts = append(pkts, k.next(part, packet.FlagPSH))
			all = append(all, part...)
		}
		if round%2 == 1 { // the last one of all closes a gap, with what was kept behind it
			pkts[0], pkts[5] = pkts[5], pkts[0]
		}
		if round == 19 {
			pkts = append(pkts, k.next(nil, packet.FlagFIN))
		}
		for _, pkt := range pkts {
			in.Add(pkt, nil)
		}
		if n := k.held.Load(); n != 0 {
			t.Errorf("round %d: %d bytes of buffers are held", round, n)
		}
		in.Flush()
		for _, pkt := range pkts {
			clear(pkt) // it was borrowed
		}
		got := make([]byte, len(all)-before)
		if _, err := io.ReadFull(k.far, got); err != nil || !bytes.Equal(got, all[before:]) {
			t.Fatalf("round %d: other bytes came, %v", round, err)
		}
	}
	got, err := io.ReadAll(k.far)
	if werr := <-k.err; err != nil || werr != nil || len(got) > 0 || k.n != int64(len(all)) {
		t.Errorf("%d bytes more came, %v; WriteTo counts %d of %d, %v", len(got), err, k.n, len(all), werr)
	}
}

// What the socket does not take at once waits in buffers that count, for WriteTo, and
// nobody who brings data waits for the socket.
func TestInboxLeavesTheRest(t *testing.T) {
	k := newSink(t)
	in := k.Inbox()
	all := make([]byte, 0, initialWindow)
	for i := 0; len(all)+8*12000 < initialWindow; i++ {
		for range 8 {
			part := bytes.Repeat([]byte{byte(i), byte(len(all))}, 6000)
			in.Add(k.next(part, packet.FlagPSH), nil)
			all = append(all, part...)
		}
		in.Flush()
	}
	if k.held.Load() == 0 {
		t.Error("nobody reads, and nothing is held")
	}
	in.Add(k.next(nil, packet.FlagFIN), nil)
	in.Flush()
	got, err := io.ReadAll(k.far)
	if werr := <-k.err; err != nil || werr != nil || !bytes.Equal(got, all) || k.n != int64(len(all)) {
		t.Errorf("%d of %d bytes came, %v; WriteTo counts %d, %v", len(got), len(all), err, k.n, werr)
	}
	if n := k.held.Load(); n != 0 {
		t.Errorf("%d bytes are held in the end", n)
	}
}

// Segments in Buffers are the stream's without a copy, whether they go to the socket, wait for it,
// wait for one before them or are not wanted at all; and the Inbox says when that is of use.
func TestInboxTakesBuffers(t *testing.T) {
	k := newSink(t)
	in := k.Inbox()
	if in.Keeps() {
		t.Error("nothing was brought, and something is kept")
	}
	bring := func(pkt []byte) (in *buf.Buffer) {
		in = buf.Get(buf.MediumSize)
		n := copy(in.Bytes()[40:], pkt) // behind what a record has before its packet
		in.Resize(40 + n)
		return in
	}
	var all []byte
	for i := 0; len(all)+6*16000 < initialWindow; i++ {
		var pkts [][]byte
		for range 6 {
			part := bytes.Repeat([]byte{byte(i), byte(len(all) >> 8)}, 8000)
			pkts = append(pkts, k.next(part, packet.FlagPSH))
			all = append(all, part...)
		}
		pkts[1], pkts[4] = pkts[4], pkts[1]
		for _, pkt := range append(pkts, pkts[0]) { // one comes twice
			b := bring(pkt)
			in.Add(b.Bytes()[40:], b)
		}
		in.Flush()
	}
	if k.held.Load() == 0 || !in.Keeps() {
		t.Errorf("nobody reads, %d bytes are held, Keeps says %v", k.held.Load(), in.Keeps())
	}
	nobody := bring(k.next(nil, packet.FlagPSH))
	in.Add(nobody.Bytes()[40:], nobody)
	b := bring(k.next(nil, packet.FlagFIN))
	in.Add(b.Bytes()[40:], b)
	in.Flush()
	got, err := io.ReadAll(k.far)
	if werr := <-k.err; err != nil || werr != nil || !bytes.Equal(got, all) || k.n != int64(len(all)) {
		t.Errorf("%d of %d bytes came, %v; WriteTo counts %d, %v", len(got), len(all), err, k.n, werr)
	}
	if n := k.held.Load(); n != 0 {
		t.Errorf("%d bytes are held in the end", n)
	}
	for range keepsFor {
		in.Flush()
	}
	if in.Keeps() {
		t.Error("nothing is kept any more, and Keeps says so")
	}
}

// What another Inbox brings while one has the socket goes with what that one writes: nobody
// wakes WriteTo for it.
func TestInboxWritesForOthers(t *testing.T) {
	k := newSink(t)
	in, other := k.Inbox(), k.Inbox()
	in.Add(k.next([]byte("one "), packet.FlagPSH), nil)
	other.Add(k.next([]byte("two "), packet.FlagPSH), nil)
	other.Flush()
	other.Add(k.next([]byte("three"), packet.FlagPSH), nil)
	other.Flush()
	if k.held.Load() == 0 {
		t.Error("what the other one has brought is nowhere")
	}
	in.Flush()
	k.st.mu.Lock()
	if k.st.ready.front() != nil || k.st.holder != nil || k.st.unread != 0 || k.st.outlet == nil {
		t.Errorf("%d bytes are left to WriteTo", k.st.unread)
	}
	k.st.mu.Unlock()
	got := make([]byte, len("one two three"))
	if _, err := io.ReadFull(k.far, got); err != nil || string(got) != "one two three" {
		t.Errorf("%q, %v", got, err)
	}
	in.Add(k.next(nil, packet.FlagFIN), nil)
	in.Flush()
	if err := <-k.err; err != nil || k.n != int64(len(got)) || k.held.Load() != 0 {
		t.Errorf("%v; WriteTo counts %d, %d bytes are held", err, k.n, k.held.Load())
	}
}

// A socket that fails ends WriteTo with the socket's own error.
func TestInboxMeetsADeadSocket(t *testing.T) {
	k := newSink(t)
	_ = k.far.SetLinger(0)
	k.far.Close()
	in := k.Inbox()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		in.Add(k.next([]byte("more"), packet.FlagPSH), nil)
		in.Flush()
		select {
		case err := <-k.err:
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("WriteTo returned %v", err)
			}
			k.st.Close()
			if n := k.held.Load(); n != 0 {
				t.Errorf("%d bytes are held in the end", n)
			}
			return
		default:
		}
	}
	t.Error("WriteTo goes on")
}

// A stream that ends while what came is being written gives everything back, and WriteTo
// returns when that is done.
func TestInboxOfAStreamThatEnds(t *testing.T) {
	for name, end := range map[string]func(*Stream){"closed": func(st *Stream) { st.Close() }, "reset": (*Stream).Reset, "cut": (*Stream).cutOff} {
		k := newSink(t)
		in := k.Inbox()
		for range 10 {
			in.Add(k.next(make([]byte, 16000), packet.FlagPSH), nil)
		}
		end(k.st)
		select {
		case err := <-k.err:
			t.Errorf("%s: WriteTo returned %v before what came was written", name, err)
		case <-time.After(5 * time.Millisecond):
		}
		in.Flush()
		k.far.Close()
		if err := <-k.err; err == nil {
			t.Errorf("%s: WriteTo has met no end", name)
		}
		if n := k.held.Load(); n != 0 {
			t.Errorf("%s: %d bytes are held in the end", name, n)
		}
	}
}

// A stream knows which subflows brought what it received, lately: not what only acknowledges,
// and not what came long ago.
func TestInboxKnowsItsWay(t *testing.T) {
	k := newSink(t)
	in, other := k.Inbox(), k.Inbox()
	in.By(3)
	other.By(63)
	bring := func(in *Inbox, payload []byte) {
		in.Add(k.next(payload, packet.FlagPSH), nil)
		in.Flush()
	}
	ways := func() uint64 {
		_, w := k.Received(&k.st.key)
		return w
	}
	bring(other, nil)
	bring(in, []byte("one"))
	if w := ways(); w != 1<<3 {
		t.Errorf("by %x", w)
	}
	bring(other, []byte("two"))
	if n, w := k.Received(&k.st.key); n != 6 || w != 1<<3|1<<63 {
		t.Errorf("%d bytes by %x", n, w)
	}
	for range 3 { // nothing comes, for longer than it counts
		k.now.Add(waysFor)
		ways()
	}
	bring(in, []byte("three"))
	if w := ways(); w != 1<<3 {
		t.Errorf("after a while by %x", w)
	}
	in.Add(k.next(nil, packet.FlagFIN), nil)
	in.Flush()
	if err := <-k.err; err != nil {
		t.Error(err)
	}
}
