package mux

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/gate"
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
	guests   *gate.Gate // at the cover's upstream
	book     proof.Book
	// strangers pays for handshakes with those who show no proof first.
	strangers *rate.Limiter
	familiar  *rate.Limiter // the same, for addresses that have proved a key

	mu       sync.Mutex      // guards all below
	ctx      context.Context // of Run; nil before
	lns      []carrier.Door
	sessions map[mptcp.Token]*Session
	opening  map[[32]byte]int // those that are not in sessions yet, by key
}

// listening is what a Listener goes by now; Change puts another in its place.
type listening struct {
	ListenerConfig
	tls *tls.Config
}

// Listen binds all addresses; its error names the one that failed.
func Listen(cfg ListenerConfig) (*Listener, error) {
	l := &Listener{
		sessions: make(map[mptcp.Token]*Session), opening: make(map[[32]byte]int),
		gate: newGate(), strangers: newStrangers(), familiar: newStrangers(),
		memory: newMemory(), guests: gate.New(guests, gate.Share, 0),
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
	bound, err := carrier.Bind(addrs)
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
func (l *Listener) Sessions() []*Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ss []*Session
	for _, s := range l.sessions {
		ss = append(ss, s)
	}
	return ss
}

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

// find returns the session of a token; a join counts only from the identity
// that opened it.
func (l *Listener) find(key [32]byte, t mptcp.Token) (*Session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sessions[t]; s != nil && s.identity == key {
		return s, nil
	}
	return nil, fmt.Errorf("no session with token %08x", uint32(t))
}

// open makes a session for a client that has room for one.
func (l *Listener) open(key [32]byte) (*Session, error) {
	cfg := l.live.Load()
	name, known := cfg.Clients[key]
	if !known {
		return nil, errRevoked // since its TLS handshake
	}
	if limit := l.reserve(cfg, key); limit != "" {
		return nil, &limitError{name, limit}
	}
	s := newSession(sessionConfig{
		name: name, identity: key, mode: cfg.Mode, rules: cfg.Rules, timeout: cfg.SessionTimeout,
		streams: cfg.MaxStreams, capture: cfg.Capture, log: cfg.Log.With().Str("client", name).Logger(),
	})
	s.memory = l.memory
	h, err := cfg.Accept(s)
	if err != nil {
		l.mu.Lock()
		l.opened(key)
		l.mu.Unlock()
		return nil, err
	}
	s.serve(&closing{h, func() { l.forget(s) }})
	return s, nil
}

// reserve takes room for one more session of a client, also from one that waits for
// a client that has come anew. What is counted is taken at once, however many come
// together. It returns the limit that leaves none, or "".
func (l *Listener) reserve(cfg *listening, key [32]byte) (limit string) {
	l.mu.Lock()
	n, all := l.opening[key], len(l.sessions)
	for _, k := range l.opening {
		all += k
	}
	var idle *Session
	var token mptcp.Token
	for t, s := range l.sessions {
		if s.identity == key {
			n++
			if s.core.abandoned() && (idle == nil || s.core.start.Before(idle.core.start)) {
				idle, token = s, t
			}
		}
	}
	switch {
	case all >= cfg.MaxSessions:
		limit = limitSessions
	case n >= cfg.MaxSessionsPerClient:
		limit = limitPerClient
	}
	full := limit != ""
	if full && idle == nil {
		l.mu.Unlock()
		return limit
	}
	if full {
		delete(l.sessions, token)
	}
	l.opening[key]++
	l.mu.Unlock()
	if full {
		idle.end.shut(ErrTimeout, false)
		idle.log.Info().Str("session", Number(uint32(token))).AnErr("why", ErrTimeout).Msg("session ended")
	}
	return ""
}

// opened gives the reserved room back. The caller holds l.mu.
func (l *Listener) opened(key [32]byte) {
	if l.opening[key]--; l.opening[key] == 0 {
		delete(l.opening, key)
	}
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

// register gives a session its key, with a token that no other has (RFC 8684,
// Section 3.1), and makes it findable.
func (l *Listener) register(s *Session) mptcp.Key {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := handshake.NewKey()
	for l.sessions[k.Token()] != nil {
		k = handshake.NewKey()
	}
	l.sessions[k.Token()] = s
	l.opened(s.identity)
	for i, a := range l.live.Load().Advertise {
		s.adverts = append(s.adverts, advert{id: uint8(i + 1), addr: a})
	}
	return k
}

func (l *Listener) forget(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for t, have := range l.sessions {
		if have == s {
			delete(l.sessions, t)
			s.log.Info().Str("session", Number(uint32(t))).AnErr("why", s.end.err).Msg("session ended")
		}
	}
}

// attach adds a subflow to the path that its address ID names.
func (l *Listener) attach(s *Session, k *carrier.TLS, capture *subflowCapture, id uint8, backup bool) error {
	k.SetDeadline(time.Time{})
	f := newSubflow(s, s.core.pathOf(id, carrier.AddrPort(k.RemoteAddr())), k, s.keys())
	s.enter(func(*engine.Engine, int64) { f.core.SetBackup(backup) })
	f.capture = capture
	return s.attach(f)
}
