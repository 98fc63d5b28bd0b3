package mux

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// ListenAddr is one address to accept subflows on.
type ListenAddr struct {
	Addr        netip.AddrPort
	KernelMPTCP bool
}

// ListenerConfig is what a Listener is made of.
type ListenerConfig struct {
	Key             ed25519.PrivateKey
	Clients         map[[32]byte]string // public key -> name
	Listen          []ListenAddr
	Advertise       []netip.AddrPort // further addresses, for ADD_ADDR
	DenyJoinInitial bool             // the C flag: a load balancer stands in front
	// Accept is asked once per session, before it carries anything.
	Accept func(s *Session) (Handler, error)
	Mode   Mode
	Rules  []Rule

	MaxSessions          int // 0 = 1,024
	MaxSessionsPerClient int // 0 = 16
	MaxSubflows          int // per session; 0 = 63
	MaxStreams           int // per session; 0 = 16,384
	Capture              *Capture
	SessionTimeout       time.Duration
	Log                  zerolog.Logger
}

// A Listener accepts subflows and keeps the sessions. Run starts one goroutine
// per address, one per handshake under way and one monitor per session.
type Listener struct {
	live  atomic.Pointer[listening]
	tasks sync.WaitGroup
	gate  chan struct{} // one slot per handshake under way

	mu       sync.Mutex      // guards all below
	ctx      context.Context // of Run; nil before
	lns      []door
	sessions map[mptcp.Token]*Session
}

// listening is what a Listener goes by now; Change puts another in its place.
type listening struct {
	ListenerConfig
	tls *tls.Config
}

// A door is one bound address.
type door struct {
	net.Listener
	at ListenAddr // as it was asked for
}

const (
	// pendingHandshakes bounds what unauthenticated peers can occupy.
	pendingHandshakes = 512
	acceptTimeout     = 10 * time.Second
)

// Listen binds all addresses; its error names the one that failed.
func Listen(cfg ListenerConfig) (*Listener, error) {
	l := &Listener{sessions: make(map[mptcp.Token]*Session), gate: make(chan struct{}, pendingHandshakes)}
	now, err := newListening(cfg)
	if err != nil {
		return nil, err
	}
	l.live.Store(now)
	if l.lns, err = bindDoors(cfg.Listen); err != nil {
		return nil, err
	}
	return l, nil
}

// newListening fills in the defaults.
func newListening(cfg ListenerConfig) (*listening, error) {
	cfg.MaxSessions = orDefault(cfg.MaxSessions, 1024)
	cfg.MaxSessionsPerClient = orDefault(cfg.MaxSessionsPerClient, 16)
	cfg.MaxSubflows = min(orDefault(cfg.MaxSubflows, maxSubflows-1), maxSubflows-1)
	t, err := serverTLS(cfg.Key, func(k [32]byte) bool { _, ok := cfg.Clients[k]; return ok })
	return &listening{cfg, t}, err
}

// bindDoors binds all of the addresses or none.
func bindDoors(addrs []ListenAddr) (doors []door, err error) {
	for _, a := range addrs {
		lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
		lc.SetMultipathTCP(a.KernelMPTCP) // Go's default is on
		network := "tcp"
		if a.Addr.Addr().Is4() {
			network = "tcp4" // "tcp" would take 0.0.0.0 for all of IPv6 too
		}
		ln, err := lc.Listen(context.Background(), network, a.Addr.String())
		if err != nil {
			closeDoors(doors)
			return nil, fmt.Errorf("listen for clients on %s: %w", a.Addr, err)
		}
		doors = append(doors, door{ln, a})
	}
	return doors, nil
}

func closeDoors(doors []door) {
	for _, d := range doors {
		d.Close()
	}
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
		as = append(as, addrPort(ln.Addr()))
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

// Run accepts until ctx ends; then it closes all sessions with MP_FASTCLOSE.
func (l *Listener) Run(ctx context.Context) error {
	l.mu.Lock()
	l.ctx = ctx
	for _, ln := range l.lns {
		l.tasks.Go(func() { l.accept(ctx, ln) })
	}
	l.mu.Unlock()
	<-ctx.Done()
	l.mu.Lock()
	closeDoors(l.lns)
	l.mu.Unlock()
	var closing sync.WaitGroup
	for _, s := range l.Sessions() {
		closing.Go(func() { s.Close(ErrClosed) })
	}
	closing.Wait()
	l.tasks.Wait()
	return context.Cause(ctx)
}

// accept is the goroutine of one address.
func (l *Listener) accept(ctx context.Context, ln net.Listener) {
	pause := 5 * time.Millisecond
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, most likely: others end, try again.
			l.live.Load().Log.Warn().Err(err).Msg("accept")
			time.Sleep(pause)
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		select {
		case l.gate <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		l.tasks.Go(func() {
			defer func() { <-l.gate }()
			l.handshake(ctx, conn)
		})
	}
}

// handshake makes a subflow of an accepted connection.
func (l *Listener) handshake(ctx context.Context, tcp net.Conn) {
	stop := context.AfterFunc(ctx, func() { tcp.Close() })
	defer stop()
	tune(tcp)
	tcp.SetDeadline(time.Now().Add(acceptTimeout))
	k := newCarrier(tcp)
	conn := k.secure(l.live.Load().tls, false)
	err := conn.HandshakeContext(ctx)
	if err == nil {
		err = l.welcome(ctx, conn, k)
	}
	if err != nil {
		tcp.Close()
		if ctx.Err() == nil {
			l.live.Load().Log.Debug().Stringer("from", tcp.RemoteAddr()).Err(err).Msg("subflow refused")
		}
	}
}

// welcome reads the first option: a new session or a join.
func (l *Listener) welcome(ctx context.Context, conn *tls.Conn, k *carrier) error {
	key, err := peerKey(conn.ConnectionState())
	if err != nil {
		return err
	}
	capture := l.live.Load().Capture.subflow(addrPort(k.LocalAddr()), addrPort(k.RemoteAddr()), false)
	rw := capture.tap(conn)
	first, err := readFirst(rw)
	if err != nil {
		return err
	}
	if first.Subtype == mptcp.MPJoin {
		s, err := l.find(key, first.Join.Token)
		if err != nil {
			return errors.Join(err, refuse(rw, mptcp.ReasonMPTCP))
		}
		select { // a join may overtake the last message of the session's own handshake
		case <-s.keyed:
		case <-s.done:
			return errors.Join(ErrClosed, refuse(rw, mptcp.ReasonMPTCP))
		}
		s.mu.Lock()
		par := joinParams{Local: s.localKey, Remote: s.remoteKey, AddrID: 0, Ack: s.space.next.Load()}
		full := len(s.subs) >= l.live.Load().MaxSubflows
		s.mu.Unlock()
		if full {
			return errors.Join(errTooMany, refuseTransient(rw, mptcp.ReasonResources))
		}
		if err := joinServer(rw, &first, par); err != nil {
			return err
		}
		return l.attach(s, conn, k, capture, first.Join.AddrID, first.Join.Backup)
	}
	s, err := l.open(key)
	if err != nil {
		return errors.Join(err, refuseTransient(rw, mptcp.ReasonResources))
	}
	local := l.register(s)
	r, err := capableServer(rw, &first, local, l.live.Load().DenyJoinInitial)
	if err != nil {
		s.shut(err, false)
		return err
	}
	s.establish(local, r.Remote, r.Checksum)
	l.tasks.Go(func() { s.run(ctx) })
	s.log.Info().Str("session", Number(uint32(local.Token()))).Msg("session established")
	return l.attach(s, conn, k, capture, 0, false)
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
	l.mu.Lock()
	n, idle := 0, (*Session)(nil)
	for _, s := range l.sessions {
		if s.identity == key {
			n++
			if s.abandoned() {
				idle = s
			}
		}
	}
	all := len(l.sessions)
	l.mu.Unlock()
	if n >= cfg.MaxSessionsPerClient || all >= cfg.MaxSessions {
		if idle == nil {
			return nil, fmt.Errorf("client %s: sessions: %w", name, errTooMany)
		}
		idle.shut(ErrTimeout, false) // one that waits for a client that came anew
	}
	s := newSession(sessionConfig{
		name: name, identity: key, mode: cfg.Mode, rules: cfg.Rules, timeout: cfg.SessionTimeout,
		streams: cfg.MaxStreams, capture: cfg.Capture, log: cfg.Log.With().Str("client", name).Logger(),
	})
	h, err := cfg.Accept(s)
	if err != nil {
		return nil, err
	}
	s.serve(&closing{h, func() { l.forget(s) }})
	return s, nil
}

// abandoned reports whether the session has no subflow.
func (s *Session) abandoned() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.subs) == 0
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
	k := newKey()
	for l.sessions[k.Token()] != nil {
		k = newKey()
	}
	l.sessions[k.Token()] = s
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
			s.log.Info().Str("session", Number(uint32(t))).AnErr("why", s.closeErr).Msg("session ended")
		}
	}
}

// attach adds a subflow to the path that its address ID names.
func (l *Listener) attach(s *Session, conn *tls.Conn, k *carrier, capture *subflowCapture, id uint8, backup bool) error {
	k.Conn.SetDeadline(time.Time{})
	f := newSubflow(s, s.pathOf(id, addrPort(k.RemoteAddr())), conn, k, s.keys().epoch)
	f.backup = backup
	f.capture = capture
	return s.attach(f)
}

// pathOf returns the path of an address ID, new if need be. Beyond maxPaths the
// last one is shared: the scheduler only sees fewer paths.
func (s *Session) pathOf(id uint8, remote netip.AddrPort) *path {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.paths, func(p *path) bool { return p.addrID == id }); i >= 0 {
		return s.paths[i]
	}
	if len(s.paths) >= maxPaths {
		return s.paths[maxPaths-1]
	}
	p := &path{cfg: Path{Name: remote.Addr().String()}, index: len(s.paths), addrID: id}
	s.paths = append(s.paths, p)
	return p
}
