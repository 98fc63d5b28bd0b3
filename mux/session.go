package mux

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/dsn"
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/reseq"
	"github.com/mpsocks/mpsocks/mux/sched"
	"github.com/mpsocks/mpsocks/mux/stream"
)

// A Stream is one CONNECT inside the tunnel: see package stream.
type Stream = stream.Stream

// Handler is what an end (client or server) puts behind a Session.
type Handler interface {
	// Deliver takes UDP packets (whole IP packets; length and protocol are
	// checked) in order of arrival. The slices are borrowed until it returns
	// and may be rewritten in place. It is called from several goroutines at
	// once and must not block. What it sends by Session.Send is flushed by the
	// caller.
	Deliver(pkts [][]byte)
	// Stream serves a stream that the peer opened, in a goroutine of its own;
	// it closes the stream before it returns.
	Stream(st *Stream)
	// Closed is called once, when the session has ended for good.
	Closed(err error)
}

// A Session is one multipath connection (RFC 8684, Section 2). On the client
// it is stable: when the server has forgotten it, it is renewed in place with
// new keys; associations go on, streams are reset.
//
// Goroutines: monitor (started by run) and two per subflow. Lock order:
// Session.mu, then a stream's.
type Session struct {
	// Set once.
	client   bool
	name     string // server: the client's configured name
	identity [32]byte
	handler  Handler
	capture  *Capture
	log      zerolog.Logger
	start    time.Time
	streams  *stream.Table
	wake     chan struct{} // 1 slot: the monitor has work
	done     chan struct{} // closed when the end begins,
	ended    chan struct{} // and when the handler knows of it
	serving  sync.WaitGroup
	keyed    chan struct{} // closed when the keys are known for the first time
	// advertised tells the owner that the peer announced an address, refused
	// that it ended the session; nil = the session ends.
	advertised func(a netip.AddrPort)
	refused    func(epoch uint64)
	left       func(epoch uint64, in time.Duration) // the peer is about to end; nil = no matter
	leave      atomic.Pointer[leave]                // while the client moves to another server
	rules      atomic.Pointer[[]Rule]               // nil = none; never changed in place

	mu         sync.Mutex // guards all of the next block
	mode       Mode
	timeout    time.Duration // without a subflow
	closed     bool
	version    string // the peer's release, "" = not told
	finishing  bool   // by this side: nothing is taken any more
	fin        uint64 // the DSN of our DATA_FIN; else 0. Behind it nothing gets one
	closeErr   error
	epoch      uint64 // grows with every set of keys, and when they are forgotten
	renewals   uint64 // how often they were
	localKey   mptcp.Key
	remoteKey  mptcp.Key
	checksum   bool // written only while there is no subflow
	paths      []*path
	subs       []*subflow
	slots      uint64
	up         chan struct{} // closed while a subflow is up
	lastUp     int64         // when the last subflow went, ns
	heard      int64         // when something last came, by any path, ns
	queue      fq.Queue
	flows      map[packet.Key]*fq.Flow
	inflight   dsn.InFlight
	redo       []uint64 // segment numbers to send again
	cands      []sched.Candidate
	candSub    []*subflow
	views      uint64 // how often they were listed
	turn       uint32
	lossy      bool
	lossAt     int64
	swept      int64
	trouble    int64  // when a subflow last stalled or ended, ns
	octets     uint64 // committed
	octetsSeen uint64 // of these, when the monitor last looked
	activeAt   int64  // when it last saw some more
	copied     uint64
	reinjected uint64
	copyBudget sched.Budget
	lack       uint64 // the first segment without Data ACK, if a kernel has it,
	lackSince  int64  // and since when
	adverts    []advert
	holdBound  int64 // resequencing deadline, ns
	farEnough  bool  // some path is long enough for copies to pay

	space   receiveSpace
	reseq   delivery
	lastAck atomic.Uint64 // highest Data ACK received
	ticking atomic.Bool
	ticks   atomic.Uint64
	ackAt   atomic.Int64 // when a Data ACK last went out on its own
}

type sessionConfig struct {
	client   bool
	name     string
	identity [32]byte
	handler  Handler
	mode     Mode
	rules    []Rule
	timeout  time.Duration
	streams  int
	capture  *Capture
	log      zerolog.Logger
}

const (
	defaultSessionTimeout = 2 * time.Minute
	defaultStreams        = 16384
)

func newSession(c sessionConfig) *Session {
	s := &Session{
		client: c.client, name: c.name, identity: c.identity, handler: c.handler, mode: c.mode,
		timeout: c.timeout, capture: c.capture, log: c.log, start: time.Now(),
		wake: make(chan struct{}, 1), done: make(chan struct{}), ended: make(chan struct{}), up: make(chan struct{}), keyed: make(chan struct{}),
		flows: make(map[packet.Key]*fq.Flow), holdBound: 20e6,
	}
	if s.timeout == 0 {
		s.timeout = defaultSessionTimeout
	}
	s.rules.Store(&c.rules)
	if c.streams == 0 {
		c.streams = defaultStreams
	}
	s.queue.Target = fq.CoDelTarget
	s.reseq.to, s.reseq.order = c.handler, reseq.New(s.ordersByRule)
	s.streams = stream.NewTable(c.client, s.wakeStream, s.acceptStream, c.streams)
	return s
}

// serve puts the handler behind the session, before its first subflow.
func (s *Session) serve(h Handler) { s.handler, s.reseq.to = h, h }

// now is the session's clock: nanoseconds since it was made.
func (s *Session) now() int64 { return int64(time.Since(s.start)) }

// establish sets the keys and with them both data sequence spaces (RFC 8684,
// Section 3.3). There is no subflow yet.
func (s *Session) establish(local, remote mptcp.Key, checksum bool) (epoch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch == 0 {
		close(s.keyed)
	}
	s.epoch++
	s.finishing, s.fin = false, 0
	s.localKey, s.remoteKey, s.checksum = local, remote, checksum
	s.inflight.Reset(local.IDSN() + 1)
	s.lastAck.Store(local.IDSN() + 1)
	s.space.reset(remote.IDSN() + 1)
	s.redo = s.redo[:0]
	for i := range s.adverts {
		s.adverts[i].echoed, s.adverts[i].tries = false, 0
	}
	return s.epoch
}

// attach adds a subflow after its handshake and starts its goroutines. It
// fails when the session has ended or has no room.
func (s *Session) attach(f *subflow) error {
	s.mu.Lock()
	if s.closed || f.epoch != s.epoch {
		err := s.closeErr
		s.mu.Unlock()
		f.close()
		if err == nil {
			err = ErrClosed
		}
		return err
	}
	slot := 0
	for s.slots&(1<<slot) != 0 {
		slot++
	}
	if slot >= maxSubflows-1 {
		s.mu.Unlock()
		f.close()
		return protocolErrorf("more than %d subflows", maxSubflows-1)
	}
	f.slot = slot
	s.slots |= 1 << slot
	s.subs = append(s.subs, f)
	if len(s.subs) == 1 {
		close(s.up)
	}
	s.arrange()
	f.carrier.gathering = true
	f.produced = f.carrier.written.Load()
	f.measure(s.now())
	s.rescue()
	s.serving.Go(f.run)
	s.mu.Unlock()
	s.announce(f)
	s.pump()
	return nil
}

// detach removes a subflow that ended: whatever it still held is sent again on
// the others (RFC 8684, Section 3.3.6).
func (s *Session) detach(f *subflow, err error) {
	f.close()
	s.mu.Lock()
	f.closed = true
	s.trouble, s.queue.Grace = s.now(), true
	i := slices.Index(s.subs, f)
	s.subs = slices.Delete(s.subs, i, i+1)
	s.slots &^= 1 << f.slot
	f.path.received += f.rxOctets.Load()
	f.path.octets += f.octets()
	if f.epoch == s.epoch {
		s.reclaim(f)
	}
	if len(s.subs) == 0 {
		s.up = make(chan struct{})
		s.lastUp = s.now()
	}
	s.arrange()
	closed, name := s.closed, f.path.cfg.Name
	s.mu.Unlock()
	s.log.Debug().Str("path", name).Int("subflow", f.slot).AnErr("why", err).Msg("subflow ended")
	if !closed {
		s.pump()
	}
}

// arrange recomputes what depends on the set of subflows: which of a path's
// subflows carry bulk.
func (s *Session) arrange() {
	var seen [64]int
	for _, f := range s.subs {
		n := &seen[f.path.index]
		if f.bulk = !f.lost && *n < bulkSubflows; f.bulk {
			*n++
		}
	}
	s.cands = s.cands[:0]
}

// bulkSubflows is how many subflows of a path carry bulk; the others stay thin
// for small flows.
const bulkSubflows = 2

// Ready waits until a subflow is up.
func (s *Session) Ready(ctx context.Context) error {
	for {
		s.mu.Lock()
		up, n, err := s.up, len(s.subs), s.closeErr
		closed := s.closed
		s.mu.Unlock()
		switch {
		case closed:
			return err
		case n > 0:
			return nil
		}
		select {
		case <-up:
		case <-s.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Peer returns the client's configured name; on the client it is empty.
func (s *Session) Peer() string { return s.name }

// renew forgets the keys and all that depends on them, after the server said
// that it does not know the session: false if that was done before. Queued packets
// stay; streams are reset.
func (s *Session) renew(epoch uint64) bool {
	s.mu.Lock()
	if s.closed || s.epoch != epoch {
		s.mu.Unlock()
		return false
	}
	s.epoch++
	s.finishing, s.fin = false, 0
	s.renewals++
	subs := slices.Clone(s.subs)
	s.redo = s.redo[:0]
	for _, f := range subs {
		f.closed = true
	}
	s.mu.Unlock()
	for _, f := range subs {
		f.close()
	}
	s.streams.CloseAll(ErrRenewed)
	return true
}

// OpenStream opens a stream to an address inside the tunnel (client only).
// from is the application's address.
func (s *Session) OpenStream(ctx context.Context, from, to netip.AddrPort) (*Stream, error) {
	if err := s.waitMoved(ctx); err != nil {
		return nil, err
	}
	return s.streams.Open(ctx, from, to)
}

// wakeStream puts a stream that has something to send on the queue.
func (s *Session) wakeStream(st *Stream) {
	s.mu.Lock()
	if s.closed || s.finishing {
		s.mu.Unlock()
		return
	}
	f := s.streamFlow(st)
	f.Active = s.now()
	s.queue.Activate(f)
	s.mu.Unlock()
	s.pump()
}

// acceptStream serves a stream that the peer opened.
func (s *Session) acceptStream(st *Stream) { s.serving.Go(func() { s.handler.Stream(st) }) }
