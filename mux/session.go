package mux

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/chatter"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/hands"
	"github.com/mpsocks/mpsocks/mux/lull"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/reseq"
	"github.com/mpsocks/mpsocks/mux/stream"
)

// A Stream is one CONNECT inside the tunnel: see package stream.
type Stream = stream.Stream

// ErrHead is Stream.Pour's.
var ErrHead = stream.ErrHead

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
// Goroutines: the monitor and two per subflow. Lock order:
// the session's, then a stream's.
type Session struct {
	// Set once.
	client   bool
	name     string // server: the client's configured name
	identity [32]byte
	handler  Handler
	capture  *Capture
	log      zerolog.Logger
	voice    *chatter.Voice // the peer's in the log; at the server one client's
	streams  *stream.Table
	hands    *hands.Hands // of the client, at the server; nil = it works as it likes
	commands commands
	serving  sync.WaitGroup
	keyed    chan struct{} // closed when the keys are known for the first time
	// advertised tells the owner that the peer announced an address, refused
	// that it ended the session; nil = the session ends.
	advertised func(a netip.AddrPort)
	refused    func(epoch uint64)
	left       func(epoch uint64, in time.Duration) // the peer is about to end; nil = no matter
	leave      atomic.Pointer[leave]                // while the client moves to another server
	hush       atomic.Bool                          // nothing new is sent
	memory     *Memory                              // nil = nothing is counted
	beside     atomic.Int64                         // see Beside
	rules      atomic.Pointer[[]Rule]               // nil = none; never changed in place
	monitor    monitor
	end        ending

	core guarded // its lock guards all of the next block, too: see enter

	version string // the peer's release, "" = not told
	key     sessionKeys
	up      chan struct{} // closed while a subflow is up
	adverts adverts

	space   receiveSpace
	reseq   delivery
	lastAck atomic.Uint64 // highest Data ACK received

	unsummed atomic.Bool // the peer takes streams' packets without the checksum of TCP
	far      atomic.Bool // see Far
}

// sessionKeys are the keys of one epoch (RFC 8684, Section 2.1), and what was agreed
// with them.
type sessionKeys struct {
	epoch         uint64
	local, remote mptcp.Key
	checksum      bool // of each mapping (Section 3.3)
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
		client: c.client, name: c.name, identity: c.identity, handler: c.handler,
		capture: c.capture, log: c.log, voice: chatter.NewVoice(), up: make(chan struct{}), keyed: make(chan struct{}),
	}
	s.commands = newCommands()
	s.monitor.s, s.monitor.alarm = s, lull.NewAlarm()
	s.end = ending{s: s, done: make(chan struct{}), ended: make(chan struct{})}
	s.core.start = time.Now()
	s.core.e = engine.New(c.client, c.mode, c.rules, patience(c.timeout))
	s.rules.Store(&c.rules)
	if c.streams == 0 {
		c.streams = defaultStreams
	}
	s.reseq.to, s.reseq.order = c.handler, reseq.New(s.ordersByRule)
	s.streams = stream.NewTable(c.client, s.wakeStream, s.acceptStream, c.streams)
	return s
}

// serve puts the handler behind the session, before its first subflow.
func (s *Session) serve(h Handler) { s.handler, s.reseq.to = h, h }

// enter is guarded.enter.
func (s *Session) enter(f func(e *engine.Engine, now int64)) { s.core.enter(f) }

// patience is how long, in ns, a session waits without a subflow.
func patience(timeout time.Duration) int64 {
	if timeout == 0 {
		timeout = defaultSessionTimeout
	}
	return int64(timeout)
}

// setPolicy puts another mode, other rules and another timeout in the place of those
// that the session began with, for flows that are there as well.
func (s *Session) setPolicy(mode Mode, rules []Rule, timeout time.Duration) {
	s.rules.Store(&rules)
	s.enter(func(e *engine.Engine, _ int64) { e.SetPolicy(mode, rules, patience(timeout)) })
}

// establish sets the keys and with them both data sequence spaces (RFC 8684,
// Section 3.3). There is no subflow yet.
func (s *Session) establish(local, remote mptcp.Key, checksum bool) (keys sessionKeys) {
	s.enter(func(e *engine.Engine, _ int64) {
		if e.Epoch() == 0 {
			close(s.keyed)
		}
		s.key = sessionKeys{e.Establish(local.IDSN() + 1), local, remote, checksum}
		s.lastAck.Store(local.IDSN() + 1)
		s.space.reset(remote.IDSN()+1, s.key.epoch)
		s.unsummed.Store(false) // until the peer, which may be another release now, says so
		s.adverts.again()
		keys = s.key
	})
	return keys
}

// keys returns those of the session now. Their epoch is another one when they were
// forgotten.
func (s *Session) keys() (keys sessionKeys) {
	s.enter(func(e *engine.Engine, _ int64) {
		keys = s.key
		keys.epoch = e.Epoch()
	})
	return keys
}

// attach adds a subflow after its handshake and starts its goroutines. It
// fails when the session has ended or has no room.
func (s *Session) attach(f *subflow) error {
	var err error
	sent, _ := f.carrier.Carried()
	s.enter(func(e *engine.Engine, _ int64) {
		if f.joins {
			s.core.joining--
		}
		switch {
		case s.end.begun:
			err = s.end.err
		case f.keys.epoch != e.Epoch():
			err = ErrClosed
		case !e.Attach(f.core, sent):
			err = protocolErrorf("more than %d subflows", engine.MaxSubflows)
		default:
			f.slot = f.core.Slot()
			f.inbox.By(f.slot)
			if len(e.Subflows()) == 1 {
				close(s.up)
			}
			f.carrier.Start()
			s.serving.Go(f.run)
		}
	})
	if err != nil {
		f.close()
		return err
	}
	f.report(true)
	f.announce()
	s.pump()
	s.monitor.hurry() // it is slow where there was none
	return nil
}

// detach removes a subflow that ended: whatever it still held is sent again on
// the others.
func (s *Session) detach(f *subflow, err error) {
	f.close()
	var name string
	var closed bool
	s.enter(func(e *engine.Engine, now int64) {
		e.Detach(f.core, now, f.rxOctets.Load(), f.octets())
		if len(e.Subflows()) == 0 {
			s.up = make(chan struct{})
		}
		closed, name = s.end.begun, f.path.Name()
	})
	s.log.Debug().Str("path", name).Int("subflow", f.slot).AnErr("why", err).Msg("subflow ended")
	if !closed {
		s.pump()
	}
}

// Ready waits until a subflow is up.
func (s *Session) Ready(ctx context.Context) error {
	for {
		var up chan struct{}
		var n int
		var closed bool
		var err error
		s.enter(func(e *engine.Engine, _ int64) { up, n, closed, err = s.up, len(e.Subflows()), s.end.begun, s.end.err })
		switch {
		case closed:
			return err
		case n > 0:
			return nil
		}
		select {
		case <-up:
		case <-s.end.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Up reports whether a subflow is up.
func (s *Session) Up() bool { return s.core.count() > 0 }

// Yield ends the session, in a goroutine of its own, if it has lost all its subflows: what it holds is
// needed. It says whether it ends.
func (s *Session) Yield() bool {
	if !s.core.abandoned() {
		return false
	}
	go s.end.shut(ErrTimeout, false)
	return true
}

// Settled waits until a subflow is up and the session is not about to move to another
// server, for streams that are in no hurry: OpenStream has the move made soon.
func (s *Session) Settled(ctx context.Context) error {
	if err := s.leave.Load().settled(ctx, s.end.done); err != nil {
		return err
	}
	return s.Ready(ctx)
}

// Peer returns the client's configured name; on the client it is empty.
func (s *Session) Peer() string { return s.name }

// renew forgets the keys and all that depends on them, after the server said
// that it does not know the session: false if that was done before. Queued packets
// stay; streams are reset.
func (s *Session) renew(epoch uint64) bool {
	news := false
	s.enter(func(e *engine.Engine, _ int64) { news = e.Renew(epoch) })
	if !news {
		return false
	}
	for _, f := range s.core.connections() {
		if f.keys.epoch == epoch {
			f.close()
		}
	}
	s.streams.CloseAll(ErrRenewed)
	return true
}

// OpenStream opens a stream to an address inside the tunnel (client only).
// from is the application's address.
func (s *Session) OpenStream(ctx context.Context, from, to netip.AddrPort) (*Stream, error) {
	if err := s.leave.Load().wait(ctx, s.end.done); err != nil {
		return nil, err
	}
	return s.streams.Open(ctx, from, to)
}

// wakeStream puts a stream that has something to send on the queue.
func (s *Session) wakeStream(st *Stream) {
	s.enter(func(e *engine.Engine, now int64) { e.Wake(st.Key(), st, now) })
	s.pump()
}

// acceptStream serves a stream that the peer opened.
func (s *Session) acceptStream(st *Stream) {
	s.serving.Go(func() {
		defer st.Rest()
		deepen(0)
		st.Begin()
		s.handler.Stream(st)
	})
}

// Finish ends the session in order and returns when its goroutines have ended. What has
// no DSN yet is dropped, streams end. Where the peer does not acknowledge in time it is
// told by MP_FASTCLOSE, as Close does.
func (s *Session) Finish(err error) { s.end.finish(err) }

// Close ends the session with MP_FASTCLOSE on every subflow (RFC 8684,
// Section 3.5) and returns when its goroutines have ended, also where somebody else
// ends it at the same time. A Handler's Closed must not call it.
func (s *Session) Close(err error) { s.end.close(err) }

// ordersByRule says that a rule wants order for what comes with that key. Whose it is,
// a client does not know here.
func (s *Session) ordersByRule(k packet.Key, tos uint8) bool {
	remote, port := k.Src, k.SrcPort
	if !s.client {
		remote, port = k.Dst, k.DstPort
	}
	c, ok := engine.Ruled(*s.rules.Load(), s.name, remote, port, tos)
	return ok && c == fq.ClassOrdered
}

// Wish takes what is asked for an end from now on, for flows that are there as of their
// next packet; an empty wish ends what was asked before. It reports whether there was
// room.
func (s *Session) Wish(at packet.End, w Wish) (taken bool) {
	s.enter(func(e *engine.Engine, now int64) { taken = engine.Want(e, at, w, now) })
	return taken
}

// IDs returns the address IDs of paths (RFC 8684, Section 3.2), by name, a bit each, for
// the peer; nil is none, and names without a path are a bit that no ID has. They mean
// something within this epoch of the session's keys.
func (s *Session) IDs(names []string) (ids uint32, epoch uint64) {
	s.enter(func(e *engine.Engine, _ int64) { ids, epoch = engine.IDs(e, names), e.Epoch() })
	return ids, epoch
}
