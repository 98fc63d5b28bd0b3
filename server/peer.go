package server

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// A session is what the server needs of a mux.Session.
type session interface {
	Send(src *mux.Source, pkts []*buf.Buffer)
	Flush()
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

	counted uint64 // bytes of the session that its client's quota knows; guarded by Server.mu

	// touched says, per room, whether the session is on the room's list for
	// this round. Each element belongs to the goroutine of its room's Loop.
	touched [maxRooms]bool

	// Datagrams that are too long for one mapping of the tunnel: the
	// Identification of the newest one brought, and those that come in halves.
	fragmentIDs atomic.Uint32
	halves      atomic.Pointer[udpio.Reassembler]

	mu       sync.RWMutex // guards the rest; held for reading while a batch is delivered
	mappings map[uint64]*mapping
	closed   bool
}

// newPeer lists a new session of a client.
func (s *Server) newPeer(name string, sess session) *peer {
	p := &peer{
		server:   s,
		client:   s.client(name),
		session:  sess,
		log:      s.log.With().Str("client", name).Logger(),
		source:   mux.Source{User: name},
		mappings: make(map[uint64]*mapping),
	}
	// The client may hold halves from before a restart of this server.
	p.fragmentIDs.Store(rand.Uint32())
	p.ctx, p.cancel = context.WithCancelCause(s.ctx)
	s.mu.Lock()
	s.peers[p] = struct{}{}
	s.mu.Unlock()
	return p
}

// Closed implements mux.Handler: it frees all that the session holds.
func (p *peer) Closed(err error) {
	s := p.server
	sent, received := p.carried()
	s.mu.Lock()
	if _, there := s.peers[p]; there {
		p.tally(time.Now())
		p.client.sent += sent
		p.client.received += received
	}
	delete(s.peers, p)
	s.mu.Unlock()
	p.cancel(err)
	p.mu.Lock()
	p.closed = true
	for key, m := range p.mappings {
		p.drop(key, m)
	}
	p.mu.Unlock()
	p.log.Debug().Err(err).Msg("session ended")
}

// join takes a fragment. When that completes a datagram, it fills in h and
// returns the payload and true.
func (p *peer) join(pkt []byte, h *packet.UDP) (payload []byte, whole bool) {
	halves := p.halves.Load()
	if halves == nil { // hardly any client ever sends one
		p.halves.CompareAndSwap(nil, new(udpio.Reassembler))
		halves = p.halves.Load()
	}
	return halves.Add(pkt, h)
}

// count is the number of mappings.
func (p *peer) count() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.mappings)
}
