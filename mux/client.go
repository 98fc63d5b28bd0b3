package mux

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/dialer"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/handshake"
)

// Path is a way from the client to the server, as configured.
type Path struct {
	Name        string
	Interface   string     // bind to this interface, or ""
	Local       netip.Addr // bind to this address, or invalid
	Subflows    int        // 0 = auto
	Backup      bool       // only when no other path is up
	Metered     bool       // nothing but keep-alives unless needed or allowed
	KernelMPTCP bool       // kernel MPTCP sockets
	Weight      int        // share of bulk; 0 = by rate
	DailyCap    int64      // bytes in both directions; 0 = none
	MonthlyCap  int64
	BillingDay  int // of the month on which MonthlyCap begins anew; 0 = the first
}

// autoSubflows is how many subflows `auto` gives a path: two for bulk, and
// thin ones enough that small flows rarely meet a stalled one.
const autoSubflows = 6

// autoShare is how many it gives to each of these, which share a session's 63.
func autoShare(paths []Path) int {
	left, auto := engine.MaxSubflows, 0
	for i := range paths {
		if paths[i].Subflows == 0 {
			auto++
		}
		left -= paths[i].Subflows
	}
	return max(1, min(autoSubflows, left/max(1, auto)))
}

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
	Log            zerolog.Logger

	// For tests; zero values are the real ones.
	clock       func() time.Time
	lookup      dialer.Lookup
	retireBytes uint64
}

// A Client keeps one session with the server alive over all paths. Run starts
// the monitor, watchCaps and one goroutine per subflow slot (slot.go); they end
// with its context.
type Client struct {
	cfg       ClientConfig // what may change while it runs is below
	greet     atomic.Pointer[handshake.Greeter]
	session   *Session
	recording *recording // or nil; set before Run
	names     *dialer.Names

	mu      sync.Mutex
	servers []string        // as ClientConfig.Addresses; never changed in place
	ctx     context.Context // of Run; nil before
	slots   sync.WaitGroup
	paths   []*clientPath
	auto    int           // subflows that `auto` means
	leaving []*clientPath // removed, with subflows that still end
	counts  map[string]*capCount
	usage   usageFile
	learned []netip.AddrPort // by ADD_ADDR
	moving  uint64           // the epoch that ends because its server does
	denied  bool             // C flag: no joins to the configured addresses
	renewed string           // why the session before ended, until that is said
	state   int
	changed chan struct{} // closed and renewed when state changes
}

// A clientPath is a configured path with its slots. What may change is guarded by
// Client.mu.
type clientPath struct {
	path    *engine.Path
	way     Path               // as it was when it was added,
	cfg     Path               // and as it is now
	cancel  context.CancelFunc // ends the slots; nil = there are none
	book    dialer.Book        // how the addresses did
	mtu     int                // packets that get through; 0 = any
	bad     string             // the last of these; "" after one that worked
	again   chan struct{}      // closed and renewed when attempts are to go on at once
	said    []string           // errors since a subflow was up, so that each is said once
	counted uint64             // bytes that are in the count of its name
	up      chan struct{}      // closed and renewed when a subflow comes up
	trying  time.Time          // since when the slot that leads dials; zero = it does not
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
	c := &Client{cfg: cfg, servers: cfg.Addresses, auto: autoSubflows, changed: make(chan struct{}), counts: make(map[string]*capCount), names: dialer.NewNames(cfg.lookup)}
	c.greet.Store(g)
	c.usage = usageFile{path: cfg.UsageFile}
	if err := c.usage.load(c.counts); err != nil {
		cfg.Log.Warn().Err(err).Msg("what paths have carried before is not known: byte caps count from now")
	}
	c.session = newSession(sessionConfig{
		client: true, handler: cfg.Handler, mode: cfg.Mode, rules: cfg.Rules, timeout: cfg.SessionTimeout,
		streams: cfg.MaxStreams, capture: cfg.Capture, log: cfg.Log,
	})
	c.session.advertised, c.session.refused, c.session.left = c.learn, c.renew, c.leaves
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
	c.mu.Lock()
	c.ctx = ctx
	c.mu.Unlock()
	if c.recording != nil {
		ended, written := make(chan struct{}), make(chan struct{})
		go func() { defer close(written); c.recording.run(ended) }()
		defer func() { close(ended); <-written }()
	}
	c.SetPaths(c.cfg.Paths)
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
	c.usage.keep(c, true)
	return err
}
