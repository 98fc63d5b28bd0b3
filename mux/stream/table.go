package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/mux/hands"
	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	// manyStreams is how many streams a session may have unless it is told: a
	// household's browsers have hundreds.
	manyStreams = 16384
	// refusalsEach is how many segments of unknown streams are answered with
	// a RST a tick; the others are ignored.
	refusalsEach = 64
	// tickEvery is how often the streams are looked at, whatever the session
	// calls tick.
	tickEvery = 200 * time.Millisecond
	// endsAtOnce is how many streams of a session that ends are ended at once where there
	// are other clients, endsPause the time between, and endsMost how often that is, about.
	endsAtOnce, endsMost = 16, 64
	endsPause            = 300 * time.Microsecond
)

var (
	// ErrRenewed is what streams see when the server had forgotten the session.
	ErrRenewed = errors.New("server lost the session")
	// ErrStreams says that a session has as many streams as it may.
	ErrStreams = errors.New("too many streams")
	// ErrPorts says that all ports of the client inside the tunnel are in use.
	ErrPorts = errors.New("no free port inside the tunnel")
)

// A Table holds the streams of a session. It has no goroutine: the
// session brings packets with an Inbox, pulls them from the streams that wake
// names, and calls Tick.
type Table struct {
	client bool
	wake   func(*Stream) // next may return something again
	accept func(*Stream) // the peer opened a stream; must not block
	most   int           // streams at a time
	start  time.Time     // of clock
	hands  *hands.Hands  // nil = everybody works at once

	budget   atomic.Int64 // how much memory the buffers of all may be
	held     atomic.Int64 // memory of the buffers of all
	count    atomic.Int64 // streams
	unheard  atomic.Int64 // of these, at the server, whose SYN has not come
	grown    atomic.Int64 // how far limits have grown beyond the start
	refusals atomic.Int32 // left until the next tick
	now      atomic.Int64 // of the last tick, on the session's clock
	span     atomic.Int64 // the longest round trip of the session's paths without queues, ns

	mu      sync.RWMutex           // guards all below
	streams map[packet.Key]*Stream // by the key of what the peer sends
	ports   ports
	guard   guard
	err     error // set: closed

	relieving sync.Mutex // held by one relieve at a time
	cuts      atomic.Uint64

	ticking sync.Mutex // guards scratch, held by one tick at a time
	scratch []*Stream
}

// NewTable makes an empty table for at most maxStreams, 0 means
// manyStreams. wake and accept are called without any lock of the table or of a
// stream.
func NewTable(client bool, wake, accept func(*Stream), maxStreams int) *Table {
	if maxStreams <= 0 {
		maxStreams = manyStreams
	}
	t := &Table{
		client: client, wake: wake, accept: accept, most: maxStreams, start: time.Now(),
		streams: map[packet.Key]*Stream{},
	}
	t.budget.Store(memoryMost)
	t.refusals.Store(refusalsEach)
	t.guard.init(client)
	return t
}

// Share has the streams work with those hands, which may be those of other tables too. It
// comes before any stream.
func (t *Table) Share(h *hands.Hands) { t.hands = h }

// SetMost changes how many streams there may be; those that are beyond stay.
func (t *Table) SetMost(n int) {
	if n <= 0 {
		n = manyStreams
	}
	t.mu.Lock()
	t.most = n
	t.mu.Unlock()
}

// clock is a time for measurements, never 0.
func (t *Table) clock() int64 { return int64(time.Since(t.start)) + 1 }

// Open makes a stream to an address inside the tunnel. Nothing is sent before
// the first Write, Read or tick, so that the SYN carries the first bytes.
func (t *Table) Open(ctx context.Context, from, to netip.AddrPort) (*Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return nil, t.err
	}
	if len(t.streams) >= t.most {
		return nil, ErrStreams
	}
	local, ok := t.ports.take(t, to)
	if !ok {
		return nil, ErrPorts
	}
	st := t.newStream(local, to, rand.Uint32())
	st.from = from
	t.streams[st.peer] = st
	t.count.Add(1)
	return st, nil
}

// admit decides what becomes of a packet of no known stream: on the server it
// may open one, even with data that overtook the SYN.
func (t *Table) admit(h *packet.TCP, k *packet.Key, payload []byte) *Stream {
	syn := h.Flags&packet.FlagSYN != 0
	says := len(payload) > 0 || h.Flags&(packet.FlagSYN|packet.FlagFIN) != 0
	t.mu.Lock()
	if st := t.streams[*k]; st != nil || t.err != nil {
		t.mu.Unlock()
		return st
	}
	if h.Flags&packet.FlagRST != 0 {
		if !t.client {
			t.guard.add(*k) // the SYN may come after it
		}
		t.mu.Unlock()
		return nil
	}
	guarded := t.guard.has(*k)
	if !t.client && !guarded && says && len(t.streams) < t.most && (syn || t.unheard.Load() < unheardMost) {
		st := t.newStream(h.Dst, h.Src, rand.Uint32())
		if !syn {
			st.unheard = true
			t.unheard.Add(1)
		}
		t.streams[*k] = st
		t.count.Add(1)
		t.mu.Unlock()
		return st
	}
	if says && !t.client {
		t.guard.add(*k)
	}
	t.mu.Unlock()
	if says && (!guarded || syn && !t.client) {
		t.refuse(h, payload)
	}
	return nil
}

// refuse answers a segment with a RST (RFC 9293, Section 3.10.7.1). The RST is
// pulled from a Stream that is dead from the start and in no table.
func (t *Table) refuse(h *packet.TCP, payload []byte) {
	if t.refusals.Add(-1) < 0 {
		return
	}
	st := t.newStream(h.Dst, h.Src, 0)
	if h.Flags&packet.FlagACK != 0 {
		st.iss, st.synSent = h.Ack-1, true // the sender's idea of where we are
	} else {
		n := uint32(len(payload))
		if h.Flags&packet.FlagSYN != 0 {
			n++
		}
		if h.Flags&packet.FlagFIN != 0 {
			n++
		}
		st.iss = ^uint32(0) // sequence number 0
		st.peerSYN, st.irs = true, h.Seq+n-1
	}
	st.closed, st.removed, st.rstDue, st.awake, st.err = true, true, true, true, errAborted
	t.wake(st)
}

// remove forgets a stream. After a reset, segments of it may still come; and
// the client uses no port again before the peer has forgotten it too.
func (t *Table) remove(st *Stream, reset bool, grown int) {
	t.grown.Add(-int64(grown))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.streams[st.peer] == st {
		delete(t.streams, st.peer)
		t.count.Add(-1)
		if reset || t.client {
			t.guard.add(st.peer)
		}
	}
}

// Tick runs what waits for time; the session calls it about every 100 ms to 1 s
// with a clock in nanoseconds that stands while nothing can come from the peer.
func (t *Table) Tick(now int64) {
	if now-t.now.Load() < int64(tickEvery) || !t.ticking.TryLock() {
		return
	}
	defer t.ticking.Unlock()
	t.now.Store(now)
	t.refusals.Store(refusalsEach)
	t.mu.Lock()
	t.guard.turn(now)
	t.mu.Unlock()
	t.scratch = t.list(t.scratch[:0])
	for _, st := range t.scratch {
		st.tick(now)
	}
	t.relieve()
	clear(t.scratch)
}

// list appends the streams to s, so that they can be locked one by one.
func (t *Table) list(s []*Stream) []*Stream {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, st := range t.streams {
		s = append(s, st)
	}
	return s
}

// Count is the number of streams.
func (t *Table) Count() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.streams)
}

// Busy is the number of streams that do not stand.
func (t *Table) Busy() (n int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, st := range t.streams {
		if !st.stands.Load() {
			n++
		}
	}
	return n
}

// waysFor is how long a subflow counts among those that bytes lately came by, at least; twice
// that at most where somebody looks that often.
const waysFor = int64(time.Second)

// Received is how many bytes of data have come on the stream that sends packets of a
// key, 0 if there is none, and the subflows that they lately came by: a bit each, as the
// Inboxes have them.
func (t *Table) Received(sends *packet.Key) (bytes, ways uint64) {
	back := *sends
	back.Src, back.Dst, back.SrcPort, back.DstPort = back.Dst, back.Src, back.DstPort, back.SrcPort
	t.mu.RLock()
	st := t.streams[back]
	t.mu.RUnlock()
	if st == nil {
		return 0, 0
	}
	now := t.now.Load()
	st.mu.Lock()
	defer st.mu.Unlock()
	ways = st.ways | st.waysOld
	if now-st.waysAt >= waysFor {
		st.waysOld, st.ways, st.waysAt = st.ways, 0, now
	}
	return st.received, ways
}

// CloseAll ends all streams with err, and open with them, unless the session is
// only renewed. It calls neither wake nor accept.
func (t *Table) CloseAll(err error) {
	t.mu.Lock()
	if t.err == nil && !errors.Is(err, ErrRenewed) {
		t.err = err
		t.guard.end()
	}
	t.mu.Unlock()
	all := t.list(nil)
	for i, st := range all {
		if i > 0 && i%max(endsAtOnce, len(all)/endsMost) == 0 && t.hands != nil {
			time.Sleep(endsPause) // for what wakes up, and everybody else
		}
		st.mu.Lock()
		st.die(err)
		st.unlock()
	}
}
