package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/client/paths"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/chatter"
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// maxLoops is how many Loops read relay sockets at most: beyond four the
// session's one queue is the limit.
const maxLoops = 4

// tunnel is what the client needs of a mux.Session.
type tunnel interface {
	Send(src *mux.Source, pkts []*buf.Buffer)
	Flush()
	Far() bool
	Ready(ctx context.Context) error
	OpenStream(ctx context.Context, from, to netip.AddrPort) (stream, error)
	Settled(ctx context.Context) error
	Wish(at packet.End, w mux.Wish) bool
	IDs(names []string) (ids uint32, epoch uint64)
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
	mark      uint32 // of what must not come back here by rules of routing; 0 = none
	loops     []*loop
	names     *names
	enclaves  enclaves
	machine   machine
	calls     calls
	watch     *paths.Watch
	policy    policy
	crowd     *admission.Crowd
	front     front
	downlink  downlink
	owners    owners
	ports     *ports
	ends      ends
	wishes    wishes
	words     *chatter.Words // of what is refused, and the server says
	programs  *chatter.Voice // in the log, of those that run with a network of their own

	associations, streams *admission.Quota
	held                  *admission.Quota // bytes of buffers of rivals, see app_port.go
	streamsOut            *admission.Quota // bytes that wait for the applications of udpStreams
	lookups               *lookups
	publications          publications
	web                   *web
	relays                relays
	fragments             fragments
	nextLoop              atomic.Uint32

	// The Identification of the newest datagram that was too long for one mapping of
	// the tunnel. It must be unique between two hosts, whatever the ports.
	fragmentIDs atomic.Uint32

	// life ends with Run.
	life context.Context
	stop context.CancelFunc

	earlyReply atomic.Bool // see call.ahead

	// Counters.
	drops                drops
	failed               atomic.Uint64 // handshakes that failed
	exitRefused          atomic.Uint64 // CONNECTs that the exit refused
	streamUp, streamDown atomic.Uint64 // bytes of ended directions of CONNECTs
}

// New binds every listener and forward and prepares the tunnel; nothing is
// served or dialled before Run, which must be called to free what New took.
// capture may be nil; handed are listeners that a service manager has bound. Errors are
// for people: they name the address or the path.
func New(cfg *conf.Client, log zerolog.Logger, capture *mux.Capture, handed ...net.Listener) (*Client, error) {
	config, err := muxConfig(cfg, log, capture)
	if err != nil {
		return nil, err
	}
	paths.Check(cfg.Paths, log)
	config.Paths, config.Forks = paths.Of(cfg.Paths), paths.Forks(cfg.SocketMark())
	if cfg.StateDir != "" {
		// By the key, for two clients of one machine have two bills.
		config.UsageFile = filepath.Join(cfg.StateDir, fmt.Sprintf("usage-%x.json", cfg.PrivateKey.Public()[:4]))
	}
	c, err := newClient(cfg, log, nil, gate.Files(), handed...)
	if err != nil {
		return nil, err
	}
	config.Handler = &c.downlink
	m, err := mux.NewClient(config)
	if err != nil {
		c.discard()
		return nil, err
	}
	c.mux, c.tunnel = m, muxTunnel{m.Session()}
	c.policy.tell, c.policy.config = m.SetPolicy, config
	c.watch.Ask(m.Servers)
	return c, nil
}

// newClient is New without the tunnel; tests bring their own. files is how many descriptors the
// process may have open, 0 = as many as it likes.
func newClient(cfg *conf.Client, log zerolog.Logger, t tunnel, files int, handed ...net.Listener) (*Client, error) {
	c := &Client{
		log:          log,
		tunnel:       t,
		runSocket:    runSocketOf(cfg.RunSocket),
		mark:         cfg.SocketMark(),
		ports:        newPorts(),
		associations: admission.NewQuota(cfg.Limits.Associations, cfg.Limits.AssociationsPerUser),
		streams:      admission.NewQuota(cfg.Limits.Streams, cfg.Limits.StreamsPerUser),
		held:         admission.NewQuota(maxHeldBytes, 0),
		streamsOut:   admission.NewQuota(udpStreamsOut, 0),
		lookups:      newLookups(),
		relays:       relays{shares: admission.NewQuota(0, 0)},
		watch:        paths.NewWatch(cfg.Paths, cfg.SocketMark(), log),
		words:        chatter.NewWords(log),
		programs:     chatter.NewVoice(),
	}
	c.life, c.stop = context.WithCancel(context.Background())
	c.crowd = admission.New(c.life, log, cfg.Users, files)
	c.front.client, c.downlink.client = c, c
	c.front.adopt(handed)
	c.relays.set(cfg.UDP)
	c.earlyReply.Store(cfg.EarlyReply)
	c.ends.client, c.wishes.client = c, c
	c.web = newWeb(c)
	c.publications.client, c.machine.client = c, c
	c.publications.set(cfg.Publish)
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
	for range min(max(runtime.GOMAXPROCS(0)/2, 1), maxLoops) {
		// after: what the handlers of a round queued leaves in one piece.
		l, err := udpio.NewLoop(c.log, func() { c.tunnel.Flush() })
		if err != nil {
			return err
		}
		c.loops = append(c.loops, &loop{Loop: l})
	}
	bound, err := c.front.prepare(cfg)
	if err != nil {
		return err
	}
	if err := c.machine.begin(cfg.TUN); err != nil {
		bound.release()
		return err
	}
	c.front.begin(bound)
	return nil
}

// discard frees what New took when it fails.
func (c *Client) discard() {
	c.stop()
	c.front.close()
	c.machine.discard()
	for _, l := range c.loops {
		l.Run(c.life) // ended already: frees and returns
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
	for _, l := range c.loops {
		under.Go(func() error { return l.Run(base) })
	}
	if c.mux != nil {
		g.Go(func() error { return c.runTunnel(ctx) })
		g.Go(func() error { c.watch.Run(ctx, c.mux.Reports); return nil })
		g.Go(func() error { c.watch.Follow(ctx, c.mux); return nil })
	}
	c.front.run(ctx, g.Go)
	if c.runSocket != "" {
		g.Go(func() error { return runGrants(ctx, c) })
	}
	g.Go(func() error { return c.machine.run(ctx) })
	g.Go(func() error { return tellAlive(ctx, c) })
	g.Go(func() error { return c.web.run(ctx) })
	c.publications.run(ctx, g.Go)
	g.Go(func() error {
		<-ctx.Done()
		c.shut()
		return nil
	})
	err := g.Wait()
	c.crowd.Wait()
	c.names.stop()
	c.ends.stop()
	c.wishes.stop()
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
	c.publications.close()
	c.front.close()
	c.crowd.Close()
}

// Addrs are the bound SOCKS addresses, in the order of the configuration.
func (c *Client) Addrs() []netip.AddrPort { return c.front.addrs() }

// Apply has the client go by another configuration, which is valid, as conf.Load
// leaves it. All that can fail is done first: with an error nothing has changed.
// Settings whose tag is `restart` are left as they are. Run must have begun; one call
// at a time.
func (c *Client) Apply(cfg *conf.Client) error {
	paths.Check(cfg.Paths, c.log)
	policy, err := muxConfig(cfg, c.log, nil)
	if err != nil {
		return err
	}
	var setServer func()
	if c.mux != nil {
		if setServer, err = c.mux.PrepareServer(policy.Addresses, policy.ServerKeys); err != nil {
			return err
		}
	}
	next, err := c.front.prepare(cfg)
	if err != nil {
		return err
	}
	if err := c.machine.set(cfg.TUN); err != nil {
		next.release()
		return err
	}
	if c.mux != nil {
		setServer()
		c.policy.configure(policy)
	}
	c.relays.set(cfg.UDP)
	c.earlyReply.Store(cfg.EarlyReply)
	c.publications.set(cfg.Publish)
	c.associations.Set(cfg.Limits.Associations, cfg.Limits.AssociationsPerUser)
	c.streams.Set(cfg.Limits.Streams, cfg.Limits.StreamsPerUser)
	c.front.swap(next)
	for _, r := range c.front.redirects() {
		r.streams.Set(0, redirectedStreams(c))
	}
	c.crowd.ReplaceUsers(cfg.Users)
	c.watch.Configure(cfg.Paths)
	return nil
}
