package stream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A Stream is one CONNECT: TCP segments (RFC 9293) inside the tunnel. The
// tunnel below delivers every packet exactly once, but in any order, so a
// stream has TCP's offsets, window, half-close and reset, and no loss recovery.
//
//	app -> Write, ReadFrom -> send buffers -> next -> the session's fair queue    write.go, send.go
//	peer's packet -> Table.input -> order restored -> Read, WriteTo -> app  receive.go, read.go
//
// A stream starts no goroutine. It is run by those who call Read and Write, by
// the session, which pulls segments with next and brings them with input, and
// by the table's tick. Lock order: session, stream, table; wake and accept are
// called with neither the stream's nor the table's lock held.
type Stream struct {
	table *Table
	key   packet.Key // of what is sent
	peer  packet.Key // of what is received

	local, remote netip.AddrPort
	from          netip.AddrPort // the application's address, on the client

	mu       sync.Mutex // guards all below
	readable sync.Cond
	writable sync.Cond

	// Sending. Offsets count data bytes from 0; offset 0 has the sequence
	// number iss+1, as SYN takes one.
	iss       uint32
	synDue    bool // SYN may leave even without data
	synSent   bool
	queue     queue
	queued    int    // bytes in queue
	charged   int64  // memory of all the stream's buffers, as the table counts it
	sent      uint64 // offset of the next byte that next takes
	acked     uint64
	edge      uint64 // the peer takes bytes before this offset
	shift     uint8  // scale of the peer's window
	sendLimit int    // Write waits while queued reaches it
	waiting   int    // writers that wait
	writing   bool   // one Write at a time
	finDue    bool
	finSent   bool
	finAcked  bool
	id        uint32 // Identification of the next packet

	// Receiving. Offset 0 has the sequence number irs+1.
	irs      uint32
	peerSYN  bool
	early    []earlySegment // came before the peer's SYN
	received uint64         // everything before this offset came
	highest  uint64         // end of the furthest byte that came
	ready    queue          // in order, not read yet
	unread   int            // bytes in ready and in the hands of WriteTo
	pieces   []piece        // out of order, sorted
	promised uint64         // the peer may send bytes before this offset
	edges    [4]uint64      // the last values of promised, those far enough apart
	meter    windowMeter
	limit    int    // how much unread data is allowed
	grewAt   uint64 // what had been read when limit last grew
	finKnown bool
	finAt    uint64 // with finKnown: the peer's data ends here
	peerFIN  bool   // all data and the FIN came
	ackOwed  bool   // an ACK waits for a segment to go with, or for tick
	ackDue   bool   // it waits no longer

	// Ending.
	closed     bool  // Close was called: nobody reads any more
	err        error // set: the stream is dead
	rstDue     bool
	rstLast    bool   // nobody writes any more: RST follows what is queued
	rstEarly   bool   // a RST came that waits for the SYN before it
	rstSeq     uint32 // its sequence number
	rstKnown   bool   // a RST came that waits for data before it
	rstAt      uint64 // the peer's data ends here then
	failed     func() // see AfterFailure
	removed    bool   // no longer in the table
	writtenOff bool   // see cutOff
	awake      bool   // the session knows that next may return something

	readDeadline  deadline
	writeDeadline deadline

	// For tick.
	mark  uint64 // changes with every progress
	since int64  // when mark changed last
}

var (
	errReset    = fmt.Errorf("stream reset by the peer: %w", syscall.ECONNRESET)
	errAborted  = fmt.Errorf("stream was reset: %w", net.ErrClosed)
	errClosed   = fmt.Errorf("stream is closed: %w", net.ErrClosed)
	errShut     = fmt.Errorf("stream is closed for writing: %w", io.ErrClosedPipe)
	errViolated = errors.New("protocol error: stream segment outside the window")
	errTimeout  = fmt.Errorf("stream: no answer: %w", syscall.ETIMEDOUT)
	errMemory   = fmt.Errorf("streams hold too much unread data: %w", syscall.ENOBUFS)
)

// newStream makes a stream with the 5-tuple of its outgoing packets.
func (t *Table) newStream(local, remote netip.AddrPort, iss uint32) *Stream {
	st := &Stream{
		table: t, local: local, remote: remote,
		key: keyOf(local, remote), peer: keyOf(remote, local),
		iss: iss, edge: initialWindow, promised: initialWindow,
		limit: initialWindow, sendLimit: sendMin, edges: [4]uint64{initialWindow},
		since: t.now.Load(),
	}
	st.readable.L, st.writable.L = &st.mu, &st.mu
	return st
}

func keyOf(src, dst netip.AddrPort) packet.Key {
	return packet.Key{
		Src: src.Addr().As16(), Dst: dst.Addr().As16(), SrcPort: src.Port(), DstPort: dst.Port(),
		Proto: packet.ProtoTCP,
	}
}

// Key names the flow of what the stream sends.
func (st *Stream) Key() packet.Key { return st.key }

// LocalAddr is the stream's own address inside the tunnel, a *net.TCPAddr.
func (st *Stream) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(st.local) }

// RemoteAddr is the peer's address inside the tunnel, a *net.TCPAddr.
func (st *Stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(st.remote) }

// From is the address of the application that the client opened the stream
// for; it is invalid on the server.
func (st *Stream) From() netip.AddrPort { return st.from }

// CloseWrite ends the outgoing direction behind everything written (FIN).
// Reading goes on.
func (st *Stream) CloseWrite() error {
	st.mu.Lock()
	if err := st.err; err != nil {
		st.mu.Unlock()
		return err
	}
	st.finDue = true
	st.writable.Broadcast()
	st.unlock()
	return nil
}

// Close ends both directions: what was written is still sent, what was not
// read is thrown away, and Read and Write that wait return. It does not block.
func (st *Stream) Close() error {
	st.mu.Lock()
	if st.closed {
		st.mu.Unlock()
		return nil
	}
	st.closed, st.finDue = true, true
	st.dropReady()
	if st.err == nil && !st.synSent && st.queued == 0 && !st.peerSYN {
		st.die(errClosed) // the peer never heard of it
	}
	st.readDeadline.stop()
	st.writeDeadline.stop()
	st.since = st.table.now.Load() // the linger of a closed stream starts here
	st.readable.Broadcast()
	st.writable.Broadcast()
	st.unlock()
	return nil
}

// Reset ends the stream at once: both ends fail, nothing more is delivered.
func (st *Stream) Reset() {
	st.mu.Lock()
	st.closed = true
	st.dropReady()
	st.abort(errAborted)
	st.readDeadline.stop()
	st.writeDeadline.stop()
	st.unlock()
}

// CloseReset ends both directions as Close does, but the peer reads a reset
// behind what was written, not an end. It does not block.
func (st *Stream) CloseReset() {
	st.mu.Lock()
	if st.err == nil {
		st.closed, st.rstLast = true, true
		st.dropReady()
		st.readDeadline.stop()
		st.writeDeadline.stop()
		st.since = st.table.now.Load() // the linger of a closed stream starts here
		st.readable.Broadcast()
		st.writable.Broadcast()
	}
	st.unlock()
}

// AfterFailure has f called, in a goroutine of its own, when the stream fails: reset
// by either end, or lost with its session. An end in order is no failure. stop says
// whether it has kept f from being called. There is one f at a time.
func (st *Stream) AfterFailure(f func()) (stop func() bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.err != nil {
		go f()
		return func() bool { return false }
	}
	st.failed = f
	return func() bool {
		st.mu.Lock()
		defer st.mu.Unlock()
		pending := st.failed != nil
		st.failed = nil
		return pending
	}
}

// abort kills the stream and tells the peer. The lock is held.
func (st *Stream) abort(err error) {
	if st.err != nil {
		return
	}
	st.rstDue = st.synSent || st.peerSYN || len(st.early) > 0
	if !st.peerSYN && len(st.early) > 0 {
		// Acknowledge what came, so that the peer believes the RST.
		st.peerSYN, st.irs = true, st.early[0].seq-1
	}
	st.die(err)
}

// die ends the stream without a word to the peer. What came in order can still
// be read, everything else is given back. The lock is held.
func (st *Stream) die(err error) {
	if st.err != nil {
		return
	}
	st.err = err
	if st.failed != nil {
		go st.failed()
		st.failed = nil
	}
	for b := st.queue.pop(); b != nil; b = st.queue.pop() {
		st.charge(-b.Held())
		b.Release()
	}
	st.queued = 0
	st.dropEarly()
	for _, p := range st.pieces {
		st.charge(-p.b.Held())
		p.b.Release()
	}
	st.pieces = nil
	st.readable.Broadcast()
	st.writable.Broadcast()
}

// dropReady gives back what nobody will read. The lock is held.
func (st *Stream) dropReady() {
	for b := st.ready.pop(); b != nil; b = st.ready.pop() {
		st.unread -= b.Len()
		st.charge(-b.Held())
		b.Release()
	}
}

// finished says whether the table may forget the stream. Delivery is reliable,
// so the server needs no ACK of its FIN: after both FINs nothing comes that
// matters. The client waits for one, because it is the client that may use the
// ports again. The lock is held.
func (st *Stream) finished() bool {
	switch {
	case st.err != nil:
		return true
	case !st.peerFIN:
		return false
	case st.table.client:
		return st.finAcked
	}
	return st.finSent && !st.ackOwed
}

// unlock releases the lock and does what must be done without it: it wakes the
// session once when there is something to pull, and leaves the table when all
// is over.
func (st *Stream) unlock() {
	wake := !st.awake && st.sendable()
	if wake {
		st.awake = true
	}
	remove := !st.removed && st.finished()
	if remove {
		st.removed = true
	}
	reset := st.err != nil
	grown := 0
	if remove {
		grown = st.ungrow()
	}
	st.mu.Unlock()
	if remove {
		st.table.remove(st, reset, grown)
	}
	if wake {
		st.table.wake(st)
	}
}

// tick looks after what waits for time; now is in nanoseconds.
func (st *Stream) tick(now int64) {
	st.mu.Lock()
	if mark := st.sent + st.acked + st.received + st.edge + uint64(st.queued); mark != st.mark {
		st.mark, st.since = mark, now
	}
	still := time.Duration(now - st.since)
	if !st.synSent {
		st.synDue = st.table.client || st.peerSYN
	}
	st.ackDue = st.ackOwed
	switch {
	case st.err != nil:
	case st.rstEarly && !st.peerSYN && still > resetTime:
		st.die(errReset)
	case !st.peerSYN && still > handshakeTime, st.closed && still > lingerTime:
		st.abort(errTimeout)
	case still > idleTime:
		st.table.grown.Add(-int64(st.ungrow()))
	}
	st.unlock()
}

// charge counts n bytes of buffers more, or fewer. The lock is held.
func (st *Stream) charge(n int) {
	st.charged += int64(n)
	st.table.held.Add(int64(n))
}

// holds is the memory of all its buffers: to be sent, not read, beyond a gap, before
// the SYN, and what WriteTo has in its hands.
func (st *Stream) holds() int64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.charged
}

// cutOff resets the stream and gives back what it holds. What WriteTo has in its
// hands is written off: it goes when the writer returns, as it does after a reset.
func (st *Stream) cutOff() {
	st.mu.Lock()
	st.abort(errMemory)
	st.dropReady()
	st.charge(-int(st.charged))
	st.unread, st.writtenOff = 0, true
	st.unlock()
}

// piece is data beyond a gap.
type piece struct {
	off uint64
	b   *buf.Buffer
}

func (p *piece) end() uint64 { return p.off + uint64(p.b.Len()) }
