package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/durable"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/hands"
	"github.com/mpsocks/mpsocks/server/names"
)

// counter is a number that only grows.
type counter = atomic.Uint64

// A Server is the half that faces the internet.
type Server struct {
	log      zerolog.Logger
	listener *mux.Listener
	start    time.Time // Server.now counts from here

	// How datagrams and CONNECTs leave.
	rules    rulebook
	outlet   outlet
	pinger   pinger
	resolver *names.Resolver
	dialer   *dialer
	spare    time.Duration // below it no mapping is evicted
	draining atomic.Bool   // no new streams

	uplinks sync.Pool // of *uplink

	mappings, streams quota   // in all
	sockets           sockets // of both
	ports             ports   // of mappings
	exits             exits
	heap              heap
	publishing        publishing
	drops             drops
	connects          connects
	sent, received    counter // datagrams

	// ctx ends with Run; peers' contexts come from it. work counts the
	// goroutines of name queries.
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	roll  roll           // who is there
	usage durable.Record // what clients have used; of countUsage
}

// New binds all listeners and prepares everything else. cfg is valid, as conf.Load
// leaves it; capture may be nil; handed are listeners that a service manager has bound.
// Errors name the address or the key that is wrong. A Server that was made has to be
// Run, which also frees it.
func New(cfg *conf.Server, log zerolog.Logger, capture *mux.Capture, handed ...net.Listener) (*Server, error) {
	s, err := newServer(cfg, log)
	if err != nil {
		return nil, err
	}
	tunnel, err := tunnelConfig(cfg, log, capture)
	if err == nil {
		tunnel.Accept = func(sess *mux.Session) (mux.Handler, error) {
			return newPeer(s, sess.Peer(), sess), nil
		}
		tunnel.Handed = handed
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
		dialer:  newDialer(out),
		spare:   minIdle,
		uplinks: sync.Pool{New: newUplink},
		exits:   exits{idle: streamIdle, holds: kernelHolds},
	}
	s.outlet.egress, s.outlet.yield = out, hands.Yield
	s.pinger.server, s.pinger.families[0].v4 = s, true
	s.rules.govern(cfg)
	s.hold(int64(cfg.Limits.Memory))
	var used map[string]spending
	if s.usage, used, err = loadUsage(cfg.StateDir); err != nil {
		log.Warn().Err(err).Msg("what clients have used is not known: they begin anew")
	}
	s.roll.open(cfg, used)
	s.outlet.relay.Store(newRelay(&cfg.Relay))
	s.mappings.max.Store(int64(cfg.Limits.Mappings))
	s.streams.max.Store(int64(cfg.Limits.Streams))
	s.publishing.allow(cfg.Clients)
	s.sockets.most, _ = descriptors(gate.Files())
	s.ports.open(systemPorts())
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.resolver = names.New(s.ctx, names.Config{Log: log, Reach: out.reaches})
	for i := range min(max(runtime.GOMAXPROCS(0)/2, 1), maxLoops) {
		l, err := newLoop(i, log)
		if err != nil {
			s.close()
			return nil, err
		}
		s.outlet.loops = append(s.outlet.loops, l)
	}
	return s, nil
}

// Run serves until ctx ends, and returns nil then, with everything closed.
func (s *Server) Run(ctx context.Context) error {
	s.work.Go(func() { watchTranslators(s.ctx, s) })
	return s.run(ctx, s.listener.Run)
}

// run serves with the tunnel's Run. The Loops outlast the tunnel, so that
// sessions end with their mappings in place.
func (s *Server) run(ctx context.Context, tunnel func(context.Context) error) error {
	stop := context.AfterFunc(ctx, s.cancel) // streams and queries end at once
	defer stop()
	outer, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var sockets errgroup.Group
	for _, l := range s.outlet.loops {
		sockets.Go(func() error { return l.Run(outer) })
	}
	sockets.Go(func() error { s.sweep(outer); return nil })
	sockets.Go(func() error { s.rules.watch(outer); return nil })
	sockets.Go(func() error { renumber(outer, s); return nil })
	sockets.Go(func() error { s.countUsage(outer); return nil })
	sockets.Go(func() error { s.exits.countMemory(outer, s.roll.list); return nil })
	err := tunnel(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	s.cancel()
	s.publishing.close()
	s.publishing.accepting.Wait()
	for _, p := range s.roll.list() {
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
	for _, l := range s.outlet.loops {
		_ = l.Run(s.ctx) // the context has ended: it closes and returns
	}
}

// sweep runs all idle timers, in one goroutine that Run starts and ctx stops.
func (s *Server) sweep(ctx context.Context) {
	for {
		// A sixteenth of the idle time is exact enough; at least every quarter of
		// a minute, which costs nothing.
		tick := time.NewTimer(min(max(s.outlet.relay.Load().idle/16, 10*time.Millisecond), 15*time.Second))
		select {
		case <-tick.C:
			now, idle := s.now(), s.outlet.relay.Load().idle
			for _, p := range s.roll.list() {
				p.nat.expire(now - int64(idle))
			}
			s.exits.expire(now)
			s.pinger.expire(now)
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

// countUsage counts what clients use and keeps it, until ctx ends.
func (s *Server) countUsage(ctx context.Context) {
	tick := time.NewTicker(usageTick)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			running = false
		}
		now := time.Now()
		s.account(now)
		if !s.usage.Due(!running || s.roll.due()) {
			continue
		}
		if err := s.usage.Keep(s.roll.spendings()); err != nil {
			s.log.Warn().Err(err).Msg("what clients have used cannot be kept: a restart forgets it")
		}
	}
}

// account holds clients to their quotas: the CONNECTs of those whose quota is used end.
func (s *Server) account(now time.Time) {
	ended, words := s.roll.account(now, &s.log)
	for _, c := range ended {
		s.exits.end(func(e *exit) bool { return e.client == c })
	}
	for _, w := range words {
		w.peer.say(w.text)
	}
}
