package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/hands"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// A session is what the server needs of a mux.Session.
type session interface {
	Send(src *mux.Source, pkts []*buf.Buffer)
	Flush()
	Far() bool
	Up() bool
	Yield() bool
	Beside(bytes int64)
	Turn() *hands.Hand
	Wish(at packet.End, w mux.Wish) bool
}

// A peer is one client's session: its mappings and its streams. It is the
// session's mux.Handler. The session calls Deliver from several goroutines; the
// Loops' goroutines call its mappings' receive.
type peer struct {
	server  *Server
	client  *client
	session session
	log     zerolog.Logger
	source  mux.Source // of what the server itself answers

	// ctx ends with the session; streams and name queries end with it.
	ctx    context.Context
	cancel context.CancelCauseFunc

	refused *rate.Limiter // of what the client hears of ports without a mapping
	counted uint64        // bytes of the session that its client's quota knows; guarded by roll.mu

	// What of the client's share, and of that of all, the session holds.
	mappings, streams pair

	standing atomic.Int64 // streams of published ports that carry nothing
	beside   atomic.Int64 // memory of its CONNECTs, with the kernel's

	// touched says, per loop, whether the session is on its list for this round.
	// Each element belongs to the goroutine of its loop.
	touched [maxLoops]bool

	// Datagrams that are too long for one mapping of the tunnel: the
	// Identification of the newest one brought, and those that come in halves.
	fragmentIDs atomic.Uint32
	halves      udpio.Reassembler

	nat nat
}

// newPeer lists a new session of a client.
func newPeer(s *Server, name string, sess session) *peer {
	c := s.roll.client(name)
	p := &peer{
		server:   s,
		client:   c,
		session:  sess,
		log:      s.log.With().Str("client", name).Logger(),
		source:   mux.Source{User: name},
		mappings: pair{&c.mappings, &s.mappings},
		streams:  pair{&c.streams, &s.streams},
		refused:  rate.NewLimiter(refusalRate, refusalBurst),
	}
	p.nat.peer, p.nat.outlet, p.nat.mappings = p, &s.outlet, make(map[uint64]*mapping)
	// The client may hold halves from before a restart of this server.
	p.fragmentIDs.Store(rand.Uint32())
	p.ctx, p.cancel = context.WithCancelCause(s.ctx)
	context.AfterFunc(p.ctx, func() { s.exits.end(func(e *exit) bool { return e.peer == p }) })
	s.roll.add(p)
	return p
}

// Closed implements mux.Handler: it frees all that the session holds.
func (p *peer) Closed(err error) {
	p.server.roll.remove(p, time.Now())
	p.cancel(err)
	p.nat.close()
	p.log.Debug().Err(err).Msg("session ended")
	if !errors.Is(err, mux.ErrClosed) && !errors.Is(err, mux.ErrPeerClosed) {
		p.client.wrong(fmt.Sprint("a session ended: ", err))
	}
}

// memory is what is held for the session beside what goes through it, bytes.
func (p *peer) memory() int64 {
	return p.beside.Load() + p.standing.Load()*exitMemory + p.nat.memory() + int64(p.halves.Held())
}

// carried is what the session has sent to its client and received from it, bytes.
func (p *peer) carried() (sent, received uint64) {
	if m, ok := p.session.(interface {
		Carried() (sent, received uint64)
	}); ok {
		return m.Carried()
	}
	return 0, 0
}

// counts are what the session has counted.
func (p *peer) counts() (c mux.Counts) {
	if s, ok := p.session.(*mux.Session); ok {
		c = mux.CountsOf(s)
	}
	return c
}

// say tells the client something for a person to read. It may get lost.
func (p *peer) say(text string) {
	h := packet.UDP{
		Src: netip.AddrPortFrom(packet.ServerHost4, packet.WordPort),
		Dst: netip.AddrPortFrom(packet.ClientHost4, packet.DiscardPort), TTL: hopLimit,
	}
	b := buf.Get(len(text))
	copy(b.Bytes(), text)
	p.session.Send(&p.source, wrap(nil, b, &h))
	p.session.Flush()
}
