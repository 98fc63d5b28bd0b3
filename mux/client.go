package mux

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/mptcp"
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
}

// autoSubflows is how many subflows `auto` gives a path: two for bulk, and
// thin ones enough that small flows rarely meet a stalled one.
const autoSubflows = 6

func (p *Path) subflows() int {
	if p.Subflows > 0 {
		return p.Subflows
	}
	return autoSubflows
}

// ClientConfig is what a Client is made of.
type ClientConfig struct {
	Key            ed25519.PrivateKey
	ServerKey      ed25519.PublicKey
	Addresses      []string // host:port; tried in order, in all families
	Paths          []Path   // none = one by the default route
	Mode           Mode
	Rules          []Rule
	Handler        Handler
	Capture        *Capture      // or nil
	SessionTimeout time.Duration // 0 = 2 minutes
	MaxStreams     int           // 0 = 16,384
	Log            zerolog.Logger
}

// A Client keeps one session with the server alive over all paths. Run starts
// the monitor and one goroutine per subflow slot (dial.go); they end with its
// context.
type Client struct {
	cfg     ClientConfig
	tls     *tls.Config
	session *Session

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before
	slots   sync.WaitGroup
	paths   []*clientPath
	learned []netip.AddrPort // by ADD_ADDR
	denied  bool             // C flag: no joins to the configured addresses
	state   int
	changed chan struct{} // closed and renewed when state changes
}

// A clientPath is a configured path with its slots.
type clientPath struct {
	path   *path
	way    Path // as it was when the slots started; path.cfg may change
	cancel context.CancelFunc
	good   string // address that worked last; guarded by Client.mu
	bad    string // error of the last attempt, so that it is said once
	caps   capCount
}

// NewClient prepares a client; nothing is dialled before Run.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.Handler == nil {
		return nil, errors.New("mux: client without a handler")
	}
	t, err := clientTLS(cfg.Key, cfg.ServerKey)
	if err != nil {
		return nil, err
	}
	if len(cfg.Paths) == 0 {
		cfg.Paths = []Path{{Name: "default"}}
	}
	c := &Client{cfg: cfg, tls: t, changed: make(chan struct{})}
	c.session = newSession(sessionConfig{
		client: true, handler: cfg.Handler, mode: cfg.Mode, rules: cfg.Rules, timeout: cfg.SessionTimeout,
		streams: cfg.MaxStreams, capture: cfg.Capture, log: cfg.Log,
	})
	c.session.advertised, c.session.refused = c.learn, c.renew
	return c, nil
}

// Session returns the one session of the client.
func (c *Client) Session() *Session { return c.session }

// Run dials and keeps subflows until ctx ends; then it closes the session with
// MP_FASTCLOSE and returns, in well under a second.
func (c *Client) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	c.ctx = ctx
	c.mu.Unlock()
	c.SetPaths(c.cfg.Paths)
	c.slots.Go(func() { c.session.run(ctx) })
	c.slots.Go(func() { c.watchCaps(ctx) })
	select {
	case <-ctx.Done():
	case <-c.session.done:
		// The server closed the session; a new client has to be made.
	}
	err := context.Cause(ctx)
	c.session.Close(ErrClosed)
	cancel()
	c.slots.Wait()
	return err
}

// SetPaths replaces the paths live: subflows of missing ones are closed and
// withdrawn with REMOVE_ADDR, new ones are dialled, others keep running.
func (c *Client) SetPaths(paths []Path) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.cfg.Paths = paths
		return
	}
	var keep []*clientPath
	for _, p := range c.paths {
		if i := slices.IndexFunc(paths, func(n Path) bool { return n.sameWay(&p.way) }); i >= 0 {
			c.update(p, paths[i])
			keep = append(keep, p)
			continue
		}
		c.remove(p)
	}
	for _, n := range paths {
		if !slices.ContainsFunc(keep, func(p *clientPath) bool { return n.sameWay(&p.way) }) {
			if p := c.add(n); p != nil {
				keep = append(keep, p)
			}
		}
	}
	c.paths = keep
}

// sameWay reports whether the subflows of one path serve the other.
func (p *Path) sameWay(o *Path) bool {
	return p.Name == o.Name && p.Interface == o.Interface && p.Local == o.Local &&
		p.subflows() == o.subflows() && p.KernelMPTCP == o.KernelMPTCP
}

// update changes what can change live and tells the peer by MP_PRIO.
func (c *Client) update(p *clientPath, n Path) {
	s := c.session
	s.mu.Lock()
	was := p.path.cfg.Backup || p.path.cfg.Metered
	p.path.cfg = n
	if is := n.Backup || n.Metered; is != was {
		for _, f := range s.subs {
			if f.path == p.path {
				f.backup = n.Backup
				f.setBackup(is)
			}
		}
	}
	s.mu.Unlock()
	s.pump()
}

// add starts the slots of a new path.
func (c *Client) add(n Path) *clientPath {
	s := c.session
	s.mu.Lock()
	used := uint64(0)
	for _, p := range s.paths {
		used |= 1 << p.index
	}
	index := 0
	for used&(1<<index) != 0 {
		index++
	}
	if index >= maxPaths {
		s.mu.Unlock()
		c.cfg.Log.Error().Str("path", n.Name).Msgf("more than %d paths: this one is not used", maxPaths)
		return nil
	}
	p := &clientPath{way: n, path: &path{cfg: n, index: index, addrID: uint8(index + 1)}}
	s.paths = append(s.paths, p.path)
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(c.ctx)
	p.cancel = cancel
	for range n.subflows() {
		c.slots.Go(func() { c.slot(ctx, p) })
	}
	return p
}

// maxPaths leaves every path some subflows of the 63.
const maxPaths = 16

// remove ends a path: its subflows are closed, its address withdrawn (RFC
// 8684, Section 3.4.2).
func (c *Client) remove(p *clientPath) {
	p.cancel()
	s := c.session
	s.mu.Lock()
	p.path.gone = true
	s.paths = slices.DeleteFunc(s.paths, func(q *path) bool { return q == p.path })
	told := false
	for _, f := range s.subs {
		if f.path != p.path && !f.closed && !told {
			o := mptcp.RemoveAddr{N: 1}
			o.IDs[0] = p.path.addrID
			f.control = o.Append(f.control)
			told = true
		}
	}
	subs := slices.Clone(s.subs)
	s.mu.Unlock()
	for _, f := range subs {
		if f.path == p.path {
			s.retire(f, mptcp.ReasonProhibited)
		}
	}
	s.pump()
}

// learn notes an address that the server announced.
func (c *Client) learn(a netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.learned) < 64 && !slices.Contains(c.learned, a) {
		c.learned = append(c.learned, a)
	}
}
