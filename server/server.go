package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// counter is a number that only grows.
type counter = atomic.Uint64

// A Server is the half that faces the internet.
type Server struct {
	log      zerolog.Logger
	listener *mux.Listener
	start    time.Time // Server.now counts from here

	// How datagrams and CONNECTs leave. Apply replaces what is behind a pointer.
	access   atomic.Pointer[access]
	relay    atomic.Pointer[relay]
	egress   *egress
	resolver *resolver
	dialer   *dialer
	spare    time.Duration // below it no mapping is evicted
	draining atomic.Bool   // no new streams

	rooms    []*room
	nextRoom atomic.Uint32
	uplinks  sync.Pool // of *uplink

	mappings, streams quota // in all
	sockets           quota // of both, as the process can open so many files
	external          external
	exits             exits
	publishing        publishing
	drops             drops
	connects          connects
	sent, received    counter // datagrams

	// ctx ends with Run; peers' contexts come from it. work counts the
	// goroutines of name queries.
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex // guards the rest
	peers   map[*peer]struct{}
	clients map[string]*client
	limits  conf.ServerLimits
	usage   usageFile
	rules   *conf.Server // whose access rules hold; only read
}

// relay is what the configuration says of mappings that are made from now on.
type relay struct {
	filtering conf.Filtering
	socket    udpio.Options
	idle      time.Duration // of a mapping; for those that are there too
}

func newRelay(cfg *conf.Relay) *relay {
	return &relay{
		filtering: cfg.Filtering,
		socket:    udpio.Options{Offload: cfg.Offload != conf.OffloadOff, TOS: true},
		idle:      cfg.IdleTimeout,
	}
}

// New binds all listeners and prepares everything else. cfg is valid, as
// conf.Load leaves it; capture may be nil. Errors name the address or the key
// that is wrong. A Server that was made has to be Run, which also frees it.
func New(cfg *conf.Server, log zerolog.Logger, capture *mux.Capture) (*Server, error) {
	s, err := newServer(cfg, log)
	if err != nil {
		return nil, err
	}
	tunnel, err := tunnelConfig(cfg, log, capture)
	if err == nil {
		tunnel.Accept = func(sess *mux.Session) (mux.Handler, error) {
			return s.newPeer(sess.Peer(), sess), nil
		}
		s.listener, err = mux.Listen(tunnel)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("server: %w", err)
	}
	for _, w := range Fits(cfg) {
		log.Warn().Msg(w)
	}
	return s, nil
}

// newServer makes everything but the tunnel.
func newServer(cfg *conf.Server, log zerolog.Logger) (*Server, error) {
	out, err := newEgress(cfg.Relay.Bind)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s := &Server{
		log:     log,
		start:   time.Now(),
		egress:  out,
		dialer:  newDialer(out),
		spare:   minIdle,
		limits:  cfg.Limits,
		uplinks: sync.Pool{New: newUplink},
		exits:   exits{idle: streamIdle, set: make(map[*exit]struct{})},
		peers:   make(map[*peer]struct{}),
		clients: make(map[string]*client),
	}
	s.govern(cfg)
	if err := s.usage.load(cfg.StateDir); err != nil {
		log.Warn().Err(err).Msg("what clients have used is not known: they begin anew")
	}
	s.relay.Store(newRelay(&cfg.Relay))
	s.mappings.max.Store(int64(cfg.Limits.Mappings))
	s.streams.max.Store(int64(cfg.Limits.Streams))
	s.publishing.allow(cfg.Clients)
	all, _ := descriptors(openFiles())
	s.sockets.max.Store(int64(all))
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.resolver = newResolver(s.ctx, out.reaches)
	for i := range min(max(runtime.GOMAXPROCS(0)/2, 1), maxRooms) {
		r, err := newRoom(i, log)
		if err != nil {
			s.close()
			return nil, err
		}
		s.rooms = append(s.rooms, r)
	}
	return s, nil
}

// Run serves until ctx ends, and returns nil then, with everything closed.
func (s *Server) Run(ctx context.Context) error {
	return s.run(ctx, s.listener.Run)
}

// run serves with the tunnel's Run. The Loops outlast the tunnel, so that
// sessions end with their mappings in place.
func (s *Server) run(ctx context.Context, tunnel func(context.Context) error) error {
	s.mu.Lock()
	memory := memoryLimit(int64(s.limits.Memory))
	s.mu.Unlock()
	mindMemory(memory)
	stop := context.AfterFunc(ctx, s.cancel) // streams and queries end at once
	defer stop()
	outer, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var sockets errgroup.Group
	for _, r := range s.rooms {
		sockets.Go(func() error { return r.loop.Run(outer) })
	}
	sockets.Go(func() error { s.sweep(outer); return nil })
	sockets.Go(func() error { s.watchOwn(outer); return nil })
	sockets.Go(func() error { s.countUsage(outer); return nil })
	err := tunnel(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	s.cancel()
	s.publishing.close()
	for _, p := range s.peerList() {
		p.Closed(mux.ErrClosed)
	}
	s.work.Wait()
	end()
	if err := errors.Join(err, sockets.Wait()); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	return nil
}

// close frees a Server that is never Run.
func (s *Server) close() {
	s.cancel()
	for _, r := range s.rooms {
		_ = r.loop.Run(s.ctx) // the context has ended: it closes and returns
	}
}

// sweep runs all idle timers, in one goroutine that Run starts and ctx stops.
func (s *Server) sweep(ctx context.Context) {
	for {
		// A sixteenth of the idle time is exact enough; at least every quarter of
		// a minute, which costs nothing.
		tick := time.NewTimer(min(max(s.relay.Load().idle/16, 10*time.Millisecond), 15*time.Second))
		select {
		case <-tick.C:
			now, idle := s.now(), s.relay.Load().idle
			for _, p := range s.peerList() {
				p.expire(now - int64(idle))
			}
			s.exits.expire(now)
		case <-ctx.Done():
			tick.Stop()
			return
		}
	}
}

// now is the time since the start in nanoseconds, by the monotonic clock.
func (s *Server) now() int64 { return int64(time.Since(s.start)) }

// Addrs returns the addresses that the tunnel listens on, with the ports that
// the system chose for port 0.
func (s *Server) Addrs() []netip.AddrPort { return s.listener.Addrs() }

// client returns what the sessions of a client share.
func (s *Server) client(name string) *client {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[name]
	if c == nil {
		c = &client{name: name}
		c.limit(&s.limits, s.entry(name))
		_, each := descriptors(openFiles())
		c.sockets.max.Store(int64(each))
		s.clients[name] = c
	}
	return c
}

// entry is a client's in the configuration, or nil; with s.mu held.
func (s *Server) entry(name string) *conf.Peer {
	for i := range s.rules.Clients {
		if s.rules.Clients[i].Name == name {
			return &s.rules.Clients[i]
		}
	}
	return nil
}

// peerList returns the present peers.
func (s *Server) peerList() []*peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*peer, 0, len(s.peers))
	for p := range s.peers {
		out = append(out, p)
	}
	return out
}
