package stream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/hands"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A Stream is one CONNECT: TCP segments (RFC 9293) inside the tunnel. The
// tunnel below delivers every packet exactly once, but in any order, so a
// stream has TCP's offsets, window, half-close and reset, and no loss recovery.
//
//	app -> Write, ReadFrom -> send buffers -> next -> the session's fair queue    write.go, send.go
//	peer's packet -> Inbox -> order restored -> Read, WriteTo -> app        inbox.go, receive.go, read.go
//
// A stream starts no goroutine. It is run by those who call Read and Write, by
// the session, which pulls segments with next and brings them with an Inbox, and
// by the table's tick. Lock order: session, stream, table; wake and accept are
// called with neither the stream's nor the table's lock held.
type Stream struct {
	key  packet.Key     // of what is sent
	peer packet.Key     // of what is received
	from netip.AddrPort // the application's address, on the client

	stands atomic.Bool                // see Stands
	begun  atomic.Pointer[hands.Hand] // see Begin

	mu sync.Mutex // guards the rest
	block
	writeDeadline deadline
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

// Stands says that the stream carries nothing for now, and that nobody minds when it is
// ended: it waits for what may come at some time.
func (st *Stream) Stands(yes bool) { st.stands.Store(yes) }

// Begin waits for a hand of the client's (mux/hands), for who serves a stream that it
// accepted, if that has none. Rest gives it back: whoever waits for something else than the stream
// says so, Read and Write do by themselves. Rest may be called more than once.
func (st *Stream) Begin() {
	if st.begun.Load() == nil {
		st.begun.Store(st.table.hands.Take())
	}
}

// Rest ends what Begin began.
func (st *Stream) Rest() {
	if st.begun.Load() != nil {
		st.begun.Swap(nil).Give()
	}
}

// newStream makes a stream with the 5-tuple of its outgoing packets.
func (t *Table) newStream(local, remote netip.AddrPort, iss uint32) *Stream {
	st := &Stream{
		key: keyOf(local, remote), peer: keyOf(remote, local),
		block: block{
			table: t, local: local, remote: remote,
			iss: iss, edge: initialWindow, promised: initialWindow,
			limit: initialWindow, sendLimit: sendMin, edges: [4]uint64{initialWindow},
			since: t.now.Load(),
		},
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
	st.rouse()
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
		st.rouse()
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

// unlock releases the lock, which its caller holds, and does what must be done without it: it wakes the
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
		grown = st.left()
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

// input takes one segment; h and payload are borrowed until the Inbox is flushed. b is nil, or
// carries the payload and is the stream's. It says whether the stream was opened by it, so that
// accept is called once.
func (st *Stream) input(in *Inbox, h *packet.TCP, payload []byte, b *buf.Buffer) (opened bool) {
	st.mu.Lock()
	if len(payload) > packBelow && !st.straight(in, h.Seq) {
		in.keeps = keepsFor
		if b == nil {
			st.mu.Unlock()
			b = buf.Get(len(payload)) // filled without the lock
			copy(b.Bytes(), payload)
			st.mu.Lock()
		}
	}
	st.by = in
	if len(payload) > 0 {
		st.ways |= in.way
	}
	held := st.holder == in
	switch {
	case st.err != nil:
	case h.Flags&packet.FlagRST != 0:
		if st.believes(h) {
			st.resetArrived(h.Seq)
		}
	case h.Flags&packet.FlagSYN != 0:
		opened = st.synchronize(h, payload, b)
		b = nil
	case !st.peerSYN:
		st.hold(h, payload, b)
		b = nil
	default:
		st.segmentArrived(h.Seq, h.Ack, h.Window, h.Flags, payload, b)
		b = nil
	}
	st.by = nil
	if !held && st.holder == in {
		in.held = append(in.held, st)
	}
	if st.news && !st.stirred {
		st.stirred = true
		in.stir = append(in.stir, st)
	}
	st.news = false
	st.unlock()
	if b != nil {
		b.Release()
	}
	return opened
}

// Next returns the next whole packet to send, at most "most" bytes long (but at
// least minCut are allowed), or nil when there is nothing now; wake says
// when there is again. The session calls it with its own lock held. The packet has no
// checksum of TCP: see packet.SumTCP.
func (st *Stream) Next(most int) *buf.Buffer {
	st.mu.Lock()
	b := st.cut(most)
	if b == nil {
		st.awake = false
	}
	// All that unlock has to do here is to leave the table: a wake from here
	// would call back into the session.
	remove, reset, grown := !st.removed && st.finished(), st.err != nil, 0
	if remove {
		st.removed = true
		grown = st.left()
	}
	st.mu.Unlock()
	if remove {
		st.table.remove(st, reset, grown)
	}
	return b
}

// Window is how many bytes the peer takes beyond what it has in order, those that are under way
// among them.
func (st *Stream) Window() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return int(st.edge - st.acked)
}

// Ended reports whether the stream has nothing to send any more, ever.
func (st *Stream) Ended() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.removed && !st.rstDue
}
