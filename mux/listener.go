package mux

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/mux/capture"
	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/hands"
	"github.com/mpsocks/mpsocks/mux/handshake"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/proof"
)

// ListenAddr is one address to accept subflows on.
type ListenAddr = carrier.ListenAddr

// ListenerConfig is what a Listener is made of.
type ListenerConfig struct {
	Key             ed25519.PrivateKey
	Clients         map[[32]byte]string // public key -> name
	Listen          []ListenAddr
	Handed          []net.Listener   // bound already, by a service manager: used where Listen has their address
	Advertise       []netip.AddrPort // further addresses, for ADD_ADDR
	DenyJoinInitial bool             // the C flag: a load balancer stands in front
	// Accept is asked once per session, before it carries anything.
	Accept func(s *Session) (Handler, error)
	Mode   Mode
	Rules  []Rule

	MaxSessions          int   // 0 = 1,024
	MaxSessionsPerClient int   // 0 = 16
	MaxSubflows          int   // per session; 0 = 63
	MaxStreams           int   // per session; 0 = 16,384
	MaxFiles             int   // that the process may open; 0 = not known
	MaxMemory            int64 // bytes that all sessions may hold, a client a quarter of it; 0 = no limit
	Capture              *Capture
	SessionTimeout       time.Duration
	Cover                Cover // what strangers get
	Log                  zerolog.Logger
}

// A Listener accepts subflows and keeps the sessions. Run starts one goroutine
// per address, one per handshake under way and one monitor per session.
type Listener struct {
	live     atomic.Pointer[listening]
	tasks    sync.WaitGroup
	gate     *gate.Gate
	memory   *Memory
	refusals refusals
	guests   guests
	sessions registry
	book     proof.Book
	// strangers pays for handshakes with those who show no proof first.
	strangers  *rate.Limiter
	familiar   *rate.Limiter // the same, for addresses that have proved a key
	allowances allowances    // of those who show one
	benches    benches       // for all handshakes

	mu   sync.Mutex      // guards the rest
	ctx  context.Context // of Run; nil before
	lns  []carrier.Door
	ends time.Time // as clients are told; zero = it does not drain. No address is bound any more
}

// listening is what a Listener goes by now; Change puts another in its place.
type listening struct {
	ListenerConfig
	tls *tls.Config
}

// Listen binds all addresses; its error names the one that failed.
func Listen(cfg ListenerConfig) (*Listener, error) {
	l := &Listener{
		sessions: registry{sessions: make(map[mptcp.Token]*Session), opening: make(map[[32]byte]int)},
		gate:     newGate(cfg.MaxFiles), strangers: newStrangers(), familiar: newStrangers(),
		memory: newMemory(), guests: newGuests(cfg.MaxFiles),
		allowances: allowances{crowd: hands.NewCrowd(runtime.GOMAXPROCS(0)-1, hands.NewSpare())},
		benches:    newBenches(runtime.GOMAXPROCS(0) - 1),
	}
	now, err := newListening(cfg)
	if err != nil {
		return nil, err
	}
	l.goBy(now)
	doors, addrs, unknown := carrier.Adopt(cfg.Handed, cfg.Listen)
	for _, u := range unknown {
		cfg.Log.Warn().Stringer("address", u.Addr()).Msg("a socket that the service manager hands over is not in listen: it is closed")
		u.Close()
	}
	bound, err := carrier.Bind(addrs, cfg.Listen)
	if err != nil {
		carrier.CloseDoors(doors)
		return nil, err
	}
	l.lns = append(doors, bound...)
	return l, nil
}

// newListening fills in the defaults.
func newListening(cfg ListenerConfig) (*listening, error) {
	cfg.MaxSessions = orDefault(cfg.MaxSessions, 1024)
	cfg.MaxSessionsPerClient = orDefault(cfg.MaxSessionsPerClient, 16)
	cfg.MaxSubflows = min(orDefault(cfg.MaxSubflows, engine.MaxSubflows), engine.MaxSubflows)
	t, err := handshake.ServerTLS(cfg.Key, cfg.Cover, func(k [32]byte) bool { _, ok := cfg.Clients[k]; return ok })
	return &listening{cfg, t}, err
}

// goBy puts a configuration in the place of the last.
func (l *Listener) goBy(now *listening) {
	var keys [][32]byte
	for k := range now.Clients {
		keys = append(keys, k)
	}
	l.book.Set(now.Key, keys)
	l.allowances.keep(now.Clients)
	l.memory.setLimit(now.MaxMemory)
	l.live.Store(now)
}

func orDefault(n, d int) int {
	if n <= 0 {
		return d
	}
	return n
}

// Addrs returns the bound addresses.
func (l *Listener) Addrs() []netip.AddrPort {
	l.mu.Lock()
	defer l.mu.Unlock()
	var as []netip.AddrPort
	for _, ln := range l.lns {
		as = append(as, carrier.AddrPort(ln.Addr()))
	}
	return as
}

// Sessions returns the sessions there are now.
func (l *Listener) Sessions() []*Session { return l.sessions.list() }

// Run accepts until ctx ends; then it ends all sessions, in order where clients answer.
func (l *Listener) Run(ctx context.Context) error {
	l.mu.Lock()
	l.ctx = ctx
	for _, ln := range l.lns {
		l.tasks.Go(func() { l.accept(ctx, ln) })
	}
	l.mu.Unlock()
	<-ctx.Done()
	l.mu.Lock()
	carrier.CloseDoors(l.lns)
	l.mu.Unlock()
	var closing sync.WaitGroup
	for _, s := range l.Sessions() {
		closing.Go(func() { s.Finish(ErrClosed) })
	}
	closing.Wait()
	l.tasks.Wait()
	return context.Cause(ctx)
}

var (
	errTooMany = errors.New("limit reached")
	errRevoked = errors.New("the client's key was taken away")
)

// An unknownSessionError refuses a join to a session of that token that the client does
// not have here.
type unknownSessionError mptcp.Token

func (e unknownSessionError) Error() string {
	return fmt.Sprintf("no session with token %08x", uint32(e))
}

// open makes a session for a client that has room for one.
func (l *Listener) open(key [32]byte) (*Session, error) {
	cfg := l.live.Load()
	name, known := cfg.Clients[key]
	if !known {
		return nil, errRevoked // since its TLS handshake
	}
	limit, idle := l.sessions.reserve(cfg, key)
	if limit != "" {
		return nil, &limitError{name, limit}
	}
	if idle != nil {
		l.tasks.Go(func() { idle.end.shut(ErrTimeout, false) })
	}
	s := newSession(sessionConfig{
		name: name, identity: key, mode: cfg.Mode, rules: cfg.Rules, timeout: cfg.SessionTimeout,
		streams: cfg.MaxStreams, capture: cfg.Capture, log: cfg.Log.With().Str("client", name).Logger(),
	})
	own := l.allowances.client(key)
	s.memory, s.voice = l.memory, own.voice
	s.hands, s.commands.client = own.hands, own.commands
	s.streams.Share(own.hands)
	h, err := cfg.Accept(s)
	if err != nil {
		l.sessions.unreserve(key)
		return nil, err
	}
	s.serve(&closing{h, func() { l.sessions.forget(s) }})
	return s, nil
}

// closing calls done after the handler's Closed.
type closing struct {
	Handler
	done func()
}

func (c *closing) Closed(err error) {
	c.Handler.Closed(err)
	c.done()
}

// attach adds a subflow to the path that its address ID names; joins says that it was expected.
func (l *Listener) attach(s *Session, k *carrier.TLS, shown *capture.Subflow, id uint8, backup, joins bool) error {
	k.SetDeadline(time.Time{})
	f := newSubflow(s, s.core.pathOf(id, carrier.AddrPort(k.RemoteAddr())), k, s.keys())
	s.enter(func(*engine.Engine, int64) { f.core.SetBackup(backup) })
	f.capture, f.joins = shown, joins
	if err := s.attach(f); err != nil {
		return err
	}
	l.mu.Lock()
	left := time.Until(l.ends) // Drain did not find the subflow, if it came during the handshake
	l.mu.Unlock()
	s.enter(func(e *engine.Engine, now int64) {
		for _, g := range f.core.Path().Subflows() {
			if connOf(g).remote.Addr() != f.remote.Addr() {
				g.Doubt(e, now) // the path's address has changed: what came from the old one may be deaf
			}
		}
		if left > 0 {
			f.core.Control(leaveIn(left))
		}
	})
	s.pump()
	return nil
}

// Drain has the listener take no new subflows and sessions, and tells the clients that it
// ends after left. Run goes on.
func (l *Listener) Drain(left time.Duration) {
	l.mu.Lock()
	carrier.CloseDoors(l.lns)
	l.lns, l.ends = nil, time.Now().Add(left)
	l.mu.Unlock()
	for _, s := range l.Sessions() {
		s.enter(func(e *engine.Engine, _ int64) {
			for _, f := range e.Subflows() {
				f.Control(leaveIn(left))
			}
		})
		s.pump()
	}
}

// Refusals counts the connections that were turned away, by reason.
func (l *Listener) Refusals() map[string]uint64 { return l.refusals.list() }

// Door says who stands before a key was proved, and what sessions hold.
func (l *Listener) Door() (gate.Counts, MemoryUse) { return l.gate.Counts(), l.memory.Use() }
