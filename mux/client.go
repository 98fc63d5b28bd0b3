package mux

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/durable"
	"github.com/mpsocks/mpsocks/mux/dialer"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/handshake"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// ClientConfig is what a Client is made of.
type ClientConfig struct {
	Key            ed25519.PrivateKey
	ServerKey      ed25519.PublicKey
	ServerKeys     []ed25519.PublicKey // further ones: a server's key can be changed without a cut
	Addresses      []string            // host:port; tried in order, in all families
	Paths          []Path              // none = one by the default route
	Mode           Mode
	Rules          []Rule
	Handler        Handler
	Capture        *Capture      // or nil
	SessionTimeout time.Duration // 0 = 2 minutes
	MaxStreams     int           // 0 = 16,384
	UsageFile      string        // keeps what paths have carried, for their caps; "" = nothing does
	Cover          Cover         // what others see of the subflows
	Mark           uint32        // of the subflows' sockets, for rules of routing (SO_MARK, Linux); 0 = none
	// Forks tells the interfaces of the next hops of the system's route to an address, where these are
	// several; nil = nobody tells. Any goroutine may call it.
	Forks func(to netip.Addr) []string
	Log   zerolog.Logger

	// For tests; zero values are the real ones.
	clock       func() time.Time
	lookup      dialer.Lookup
	retireBytes uint64
	dial        func(ctx context.Context, way *dialer.Way, segment int, a netip.AddrPort) (net.Conn, error)
}

// A Client keeps one session with the server alive over all paths. Run starts
// the monitor, watchCaps and one goroutine per subflow slot (slot.go); they end
// with its context.
type Client struct {
	cfg     ClientConfig // what may change while it runs is below
	greet   atomic.Pointer[handshake.Greeter]
	session *Session

	recording *recording // or nil; set before Run

	servers servers
	opening opening
	slots   sync.WaitGroup // of the paths, and all else that ends with ctx

	mu    sync.Mutex      // guards the rest, and what it guards of each path
	ctx   context.Context // of Run; nil before
	paths []*clientPath
	auto  int // subflows that `auto` means
	meter meter
}

// NewClient prepares a client; nothing is dialled before Run.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.Handler == nil {
		return nil, errors.New("mux: client without a handler")
	}
	keys := cfg.ServerKeys
	if len(cfg.ServerKey) > 0 || len(keys) == 0 {
		keys = append([]ed25519.PublicKey{cfg.ServerKey}, keys...)
	}
	g, err := handshake.NewGreeter(cfg.Key, cfg.Cover, keys...)
	if err != nil {
		return nil, err
	}
	if cfg.clock == nil {
		cfg.clock = time.Now
	}
	if cfg.retireBytes == 0 {
		cfg.retireBytes = retireBytes
	}
	if cfg.dial == nil {
		cfg.dial = dialTCP
	}
	c := &Client{cfg: cfg, auto: autoSubflows}
	c.servers.names, c.servers.listed, c.servers.log = dialer.NewNames(cfg.lookup), cfg.Addresses, cfg.Log
	c.opening.c, c.opening.changed = c, make(chan struct{})
	c.greet.Store(g)
	c.session = newSession(sessionConfig{
		client: true, handler: cfg.Handler, mode: cfg.Mode, rules: cfg.Rules, timeout: cfg.SessionTimeout,
		streams: cfg.MaxStreams, capture: cfg.Capture, log: cfg.Log,
	})
	c.session.advertised, c.session.refused, c.session.left = c.servers.learn, c.opening.renew, c.opening.leaves
	c.meter = meter{s: c.session, log: cfg.Log, counts: make(map[string]*capCount), usage: durable.Record{Path: cfg.UsageFile, Limit: usageLimit}, worn: cfg.retireBytes}
	if err := loadUsage(&c.meter.usage, c.meter.counts); err != nil {
		cfg.Log.Warn().Err(err).Msg("what paths have carried before is not known: byte caps count from now")
	}
	return c, nil
}

// Session returns the one session of the client.
func (c *Client) Session() *Session { return c.session }

// Record has the session write what its engine is told and answers to a file, which must
// not be there yet, so that it can be run again (engine.Replay). Of packets that has the
// headers and the first bytes. It is called before Run, once.
func (c *Client) Record(path string) (err error) {
	if c.recording, err = newRecording(path, c.cfg.Log); err == nil {
		c.session.enter(func(e *engine.Engine, _ int64) { engine.Record(e, c.recording.add) })
	}
	return err
}

// Run dials and keeps subflows until ctx ends; then it ends the session, in order where
// the server answers, and returns, in well under a second.
func (c *Client) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.recording != nil {
		ended, written := make(chan struct{}), make(chan struct{})
		go func() { defer close(written); c.recording.run(ended) }()
		defer func() { close(ended); <-written }()
	}
	c.mu.Lock()
	c.ctx = ctx
	c.setPaths(c.cfg.Paths) // at once: whoever sets others has the last word
	c.mu.Unlock()
	c.slots.Go(func() { c.session.monitor.run(ctx) })
	c.slots.Go(func() { c.watchCaps(ctx) })
	select {
	case <-ctx.Done():
	case <-c.session.end.done:
		// The server closed the session; a new client has to be made.
	}
	err := context.Cause(ctx)
	c.session.Finish(ErrClosed)
	cancel()
	c.slots.Wait()
	c.keepUsage(true)
	return err
}

// running is the context of Run; nil before.
func (c *Client) running() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ctx
}

// list returns the paths that there are.
func (c *Client) list() []*clientPath {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.paths)
}

// settle has every path ask for the server's names when the server is there again after no
// address of it answered: what they meant meanwhile may be a captive portal's word.
func (c *Client) settle() {
	if !c.servers.settled() {
		return
	}
	ctx := c.running()
	for _, p := range c.list() {
		c.servers.ask(ctx, c.slots.Go, p.dialWay())
	}
}

// PrepareServer returns what puts other addresses and keys of the server in the place of those
// that the client began with. Subflows stay then, but for those with a key that is trusted no
// more: these are ended, and dialled again. An error is of a key that no server can have.
func (c *Client) PrepareServer(addresses []string, keys []ed25519.PublicKey) (set func(), err error) {
	g, err := handshake.NewGreeter(c.cfg.Key, c.cfg.Cover, keys...)
	if err != nil {
		return nil, err
	}
	return func() {
		c.servers.set(addresses)
		c.greet.Store(g)
		for _, f := range c.session.core.connections() {
			if !g.Trusts(f.peer) {
				f.retire(mptcp.ReasonProhibited)
			}
		}
	}, nil
}

// SetPolicy puts another mode, other rules and another time without a subflow (0 = 2
// minutes) in the place of those that the client began with, for flows that are under
// way as well.
func (c *Client) SetPolicy(mode Mode, rules []Rule, timeout time.Duration) {
	c.session.setPolicy(mode, rules, timeout)
}

// Servers are the addresses of the server that are known now.
func (c *Client) Servers() (addrs []netip.Addr) {
	for _, name := range c.servers.addresses() {
		if a, err := netip.ParseAddrPort(name); err == nil {
			addrs = append(addrs, a.Addr().Unmap())
		} else if host, _, err := net.SplitHostPort(name); err == nil {
			ips, _, _ := c.servers.names.Known(host, nil)
			addrs = append(addrs, ips...)
		}
	}
	return addrs
}
