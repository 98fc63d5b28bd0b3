package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// maxLanes is how many Loops read relay sockets at most: beyond four the
// session's one queue is the limit.
const maxLanes = 4

// tunnel is what the client needs of a mux.Session.
type tunnel interface {
	Send(src *mux.Source, pkts []*buf.Buffer)
	Flush()
	Ready(ctx context.Context) error
	OpenStream(ctx context.Context, from, to netip.AddrPort) (stream, error)
}

// muxTunnel makes a mux.Session a tunnel.
type muxTunnel struct{ *mux.Session }

func (t muxTunnel) OpenStream(ctx context.Context, from, to netip.AddrPort) (stream, error) {
	st, err := t.Session.OpenStream(ctx, from, to)
	if err != nil {
		return nil, err // not st: a nil *mux.Stream is no nil stream
	}
	return st, nil
}

// Client is the half that runs beside the applications.
type Client struct {
	// Set once at construction.
	log       zerolog.Logger
	mux       *mux.Client // nil in tests
	tunnel    tunnel
	runSocket string // "" = none
	guesses   *guesses
	lanes     []*lane
	names     *names
	enclaves  enclaves
	calls     calls
	watch     pathWatch
	owners    owners
	ports     *ports
	ends      ends
	words     words

	associations, streams *quota
	lobby                 *lobby
	publications          []*publication
	web                   *web
	descriptors           *descriptors
	relays                relays
	fragments             fragments
	nextLane              atomic.Uint32

	// Datagrams that are too long for one mapping of the tunnel: the
	// Identification of the newest one sent, which must be unique between two
	// hosts, whatever the ports, and those that arrive in halves.
	fragmentIDs atomic.Uint32
	halves      atomic.Pointer[udpio.Reassembler]

	// life ends with Run.
	life context.Context
	stop context.CancelFunc

	// What Apply replaces, see reload.go.
	users atomic.Pointer[users]
	look  chan struct{} // 1 slot: the paths of the configuration are others

	policyMu sync.Mutex // guards the next two, see control.go; taken before mu
	policy   mux.ClientConfig
	byHand   []mux.Rule

	mu        sync.Mutex              // guards all following fields up to the blank line
	conns     map[*net.TCPConn]string // with the SOCKS user, once that is known
	visitors  []*visitors
	listeners []*net.TCPListener
	forwards  []*forward
	paths     []conf.Path
	start     func(func() error) // starts a goroutine of Run; nil before
	closed    bool
	wg        sync.WaitGroup // connections; Add only with mu held or from one that is counted

	// Counters.
	drops                drops
	received             atomic.Uint64 // datagrams handed to applications
	held                 atomic.Int64  // bytes of buffers of rivals, see app_port.go
	failed               atomic.Uint64 // handshakes that failed
	exitRefused          atomic.Uint64 // CONNECTs that the exit refused
	streamUp, streamDown atomic.Uint64 // bytes of ended directions of CONNECTs
}

// New binds every listener and forward and prepares the tunnel; nothing is
// served or dialled before Run, which must be called to free what New took.
// capture may be nil. Errors are for people: they name the address or the path.
func New(cfg *conf.Client, log zerolog.Logger, capture *mux.Capture) (*Client, error) {
	config, err := muxConfig(cfg, log, capture)
	if err != nil {
		return nil, err
	}
	checkPaths(cfg.Paths, log)
	config.Paths = muxPaths(cfg.Paths)
	if cfg.StateDir != "" {
		// By the key, for two clients of one machine have two bills.
		config.UsageFile = filepath.Join(cfg.StateDir, fmt.Sprintf("usage-%x.json", cfg.PrivateKey.Public()[:4]))
	}
	c, err := newClient(cfg, log, nil)
	if err != nil {
		return nil, err
	}
	config.Handler = c
	m, err := mux.NewClient(config)
	if err != nil {
		c.discard()
		return nil, err
	}
	c.mux, c.tunnel, c.policy = m, muxTunnel{m.Session()}, config
	return c, nil
}

// newClient is New without the tunnel; tests bring their own.
func newClient(cfg *conf.Client, log zerolog.Logger, t tunnel) (*Client, error) {
	c := &Client{
		log:          log,
		tunnel:       t,
		paths:        cfg.Paths,
		runSocket:    runSocketOf(cfg.RunSocket),
		guesses:      newGuesses(),
		look:         make(chan struct{}, 1),
		ports:        newPorts(),
		lobby:        newLobby(maxPending, maxPendingEach),
		descriptors:  newDescriptors(),
		associations: newQuota(cfg.Limits.Associations, cfg.Limits.AssociationsPerUser),
		streams:      newQuota(cfg.Limits.Streams, cfg.Limits.StreamsPerUser),
		conns:        make(map[*net.TCPConn]string),
	}
	c.users.Store(newUsers(cfg.Users))
	c.relays.set(cfg.UDP)
	c.ends.client = c
	c.web = newWeb(c)
	c.newPublications(cfg.Publish)
	c.life, c.stop = context.WithCancel(context.Background())
	if err := c.bind(cfg); err != nil {
		c.discard()
		return nil, err
	}
	return c, nil
}

// bind makes the Loops and binds all sockets.
func (c *Client) bind(cfg *conf.Client) (err error) {
	if c.names, err = newNames(c); err != nil {
		return err
	}
	for range min(max(runtime.GOMAXPROCS(0)/2, 1), maxLanes) {
		// after: what the handlers of a round queued leaves in one piece.
		loop, err := udpio.NewLoop(c.log, func() { c.tunnel.Flush() })
		if err != nil {
			return err
		}
		c.lanes = append(c.lanes, &lane{loop: loop})
	}
	bound, err := c.prepare(cfg)
	if err != nil {
		return err
	}
	c.listeners, c.forwards = bound.listeners, bound.forwards
	return nil
}

// explainBind adds what to do to the errors that a user can mend.
func explainBind(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another program, or another mpsocks, has this port", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: this machine has no such address", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: ports below 1024 need a privilege", err)
	}
	return err
}

// discard frees what New took when it fails.
func (c *Client) discard() {
	c.stop()
	for _, ln := range c.listeners {
		ln.Close()
	}
	for _, f := range c.forwards {
		if f.ln != nil {
			f.ln.Close()
		}
	}
	for _, l := range c.lanes {
		l.loop.Run(c.life) // ended already: frees and returns
	}
}

// Run serves until ctx ends, then closes every connection and returns nil; an
// error is one that ends everything before. It is called once.
func (c *Client) Run(ctx context.Context) error {
	defer c.stop()
	g, ctx := errgroup.WithContext(ctx)
	// The loops and the tunnel outlive the connections that use them.
	base, release := context.WithCancel(context.Background())
	defer release()
	var under errgroup.Group
	for _, l := range c.lanes {
		under.Go(func() error { return l.loop.Run(base) })
	}
	if c.mux != nil {
		g.Go(func() error { return c.runTunnel(ctx) })
		g.Go(func() error { c.watchStates(ctx); return nil })
		g.Go(func() error { return c.watchPaths(ctx) })
	}
	c.mu.Lock()
	c.start = g.Go
	for _, ln := range c.listeners {
		g.Go(func() error { return c.accept(ctx, ln, c.admit) })
	}
	for _, f := range c.forwards {
		if f.ln != nil {
			g.Go(func() error { return c.accept(ctx, f.ln, f.admit) })
		}
	}
	c.mu.Unlock()
	if c.runSocket != "" {
		g.Go(func() error { return c.runGrants(ctx) })
	}
	g.Go(func() error { return c.tellAlive(ctx) })
	g.Go(func() error { return c.web.run(ctx) })
	for _, p := range c.publications {
		g.Go(func() error { return p.run(ctx) })
	}
	g.Go(func() error { return c.sweepForwards(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		c.shut()
		return nil
	})
	err := g.Wait()
	c.wg.Wait()
	c.names.stop()
	c.ends.stop()
	release()
	return errors.Join(err, under.Wait())
}

// runTunnel runs the tunnel. It renews its session by itself, so that its end
// before that of ctx is a failure.
func (c *Client) runTunnel(ctx context.Context) error {
	err := c.mux.Run(ctx)
	switch {
	case ctx.Err() != nil:
		return nil
	case err == nil:
		return errTunnelEnded
	}
	return fmt.Errorf("tunnel: %w", err)
}

var errTunnelEnded = errors.New("the tunnel ended by itself")

// shut closes listeners and connections; their goroutines end by that.
func (c *Client) shut() {
	c.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, ln := range c.listeners {
		ln.Close()
	}
	for _, f := range c.forwards {
		if f.ln != nil {
			f.ln.Close()
		}
	}
	for conn := range c.conns {
		// A deadline as well: closing does not end an io.Copy that waits for
		// the other side.
		conn.SetDeadline(time.Unix(1, 0))
		conn.Close()
	}
}

// begin counts a goroutine that serves something; false if there is an end of that.
func (c *Client) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.wg.Add(1)
	}
	return !c.closed
}

// track counts a connection, so that shutdown finds it.
func (c *Client) track(conn *net.TCPConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.conns[conn] = ""
	c.wg.Add(1)
	return true
}

// forget undoes track, but for the WaitGroup.
func (c *Client) forget(conn *net.TCPConn) {
	c.mu.Lock()
	_, there := c.conns[conn]
	delete(c.conns, conn)
	c.mu.Unlock()
	if there {
		c.descriptors.give(1)
	}
}

// Addrs are the bound SOCKS addresses, in the order of the configuration.
func (c *Client) Addrs() []netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]netip.AddrPort, 0, len(c.listeners))
	for _, ln := range c.listeners {
		a := ln.Addr().(*net.TCPAddr).AddrPort()
		out = append(out, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	}
	return out
}
