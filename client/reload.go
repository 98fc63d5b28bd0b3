package client

import (
	"crypto/ed25519"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
)

// How a running client takes another configuration. The conf package says by its
// `reload` tags which settings that is.

// Apply has the client go by another configuration, which is valid, as conf.Load
// leaves it. All that can fail is done first: with an error nothing has changed.
// Settings whose tag is `restart` are left as they are. Run must have begun; one call
// at a time.
func (c *Client) Apply(cfg *conf.Client) error {
	checkPaths(cfg.Paths, c.log)
	policy, err := muxConfig(cfg, c.log, nil)
	if err != nil {
		return err
	}
	next, err := c.prepare(cfg)
	if err != nil {
		return err
	}
	if c.mux != nil {
		if err := c.mux.SetServer(policy.Addresses, policy.ServerKeys); err != nil {
			c.release(next.fresh())
			return err
		}
		c.policyMu.Lock()
		c.policy = policy
		c.setPolicy()
		c.policyMu.Unlock()
	}
	c.relays.set(cfg.UDP)
	c.associations.set(cfg.Limits.Associations, cfg.Limits.AssociationsPerUser)
	c.streams.set(cfg.Limits.Streams, cfg.Limits.StreamsPerUser)
	c.swap(next)
	c.replaceUsers(cfg.Users)
	c.mu.Lock()
	c.paths = cfg.Paths
	c.mu.Unlock()
	poke(c.look)
	return nil
}

// bindings are the sockets of a configuration: those that the client has already and
// those that are new.
type bindings struct {
	listeners, newListeners []*net.TCPListener
	forwards, newForwards   []*forward
	targets                 []*target // of each of forwards
}

func (b bindings) fresh() bindings {
	return bindings{listeners: b.newListeners, forwards: b.newForwards}
}

// prepare binds what a configuration has more than the client, or nothing.
func (c *Client) prepare(cfg *conf.Client) (b bindings, err error) {
	defer func() {
		if err != nil {
			c.release(b.fresh())
		}
	}()
	c.mu.Lock()
	have := slices.Clone(c.listeners)
	c.mu.Unlock()
	for _, addr := range cfg.Listen {
		if i := slices.IndexFunc(have, func(ln *net.TCPListener) bool { return listensAt(ln, addr) }); i >= 0 {
			b.listeners = append(b.listeners, have[i])
			have = slices.Delete(have, i, i+1)
			continue
		}
		ln, err := listen(addr, cfg.Listen)
		if err != nil {
			return b, fmt.Errorf("listen on %s: %w", addr, explainBind(err))
		}
		b.listeners, b.newListeners = append(b.listeners, ln), append(b.newListeners, ln)
	}
	forwards := c.forwardList()
	var routes []conf.Route
	for _, f := range cfg.Forwards {
		routes = append(routes, f.Routes()...)
	}
	b.targets = make([]*target, len(routes))
	for i, f := range routes {
		if b.targets[i], err = parseTarget(f); err != nil {
			return b, err
		}
		if j := slices.IndexFunc(forwards, func(w *forward) bool { return w.is(f) }); j >= 0 {
			b.forwards = append(b.forwards, forwards[j])
			continue
		}
		w, err := c.newForward(f, c.lanes[i%len(c.lanes)])
		if err != nil {
			return b, err
		}
		b.forwards, b.newForwards = append(b.forwards, w), append(b.newForwards, w)
	}
	return b, nil
}

// listensAt says whether a listener was bound for an address.
func listensAt(ln *net.TCPListener, want netip.AddrPort) bool {
	a := ln.Addr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) == want
}

// release closes what was prepared in vain.
func (c *Client) release(b bindings) {
	for _, ln := range b.listeners {
		ln.Close()
	}
	for _, f := range b.forwards {
		f.close()
	}
}

// swap serves the new sockets and leaves those that are not wanted any more. What came
// through a listener that is left goes on.
func (c *Client) swap(next bindings) {
	c.mu.Lock()
	if c.closed || c.start == nil {
		c.mu.Unlock()
		c.release(next.fresh())
		return
	}
	old := bindings{listeners: c.listeners, forwards: c.forwards}
	c.listeners, c.forwards = next.listeners, next.forwards
	for i, f := range next.forwards {
		f.target.Store(next.targets[i])
	}
	for _, ln := range next.newListeners {
		c.start(func() error { return c.accept(c.life, ln, c.admit) })
	}
	for _, f := range next.newForwards {
		if f.ln != nil {
			c.start(func() error { return c.accept(c.life, f.ln, f.admit) })
		}
	}
	c.mu.Unlock()
	for _, ln := range old.listeners {
		if !slices.Contains(next.listeners, ln) {
			ln.Close()
		}
	}
	for _, f := range old.forwards {
		if !slices.Contains(next.forwards, f) {
			f.close()
		}
	}
}

// left says whether the client has stopped listening there on purpose.
func (c *Client) left(ln *net.TCPListener) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !slices.Contains(c.listeners, ln) && !slices.ContainsFunc(c.forwards, func(f *forward) bool { return f.ln == ln })
}

// forwardList returns the present forwards.
func (c *Client) forwardList() []*forward {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.forwards)
}

// configured returns the paths of the configuration.
func (c *Client) configured() []conf.Path {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.paths
}

// known notes whose connection it is, and looks again whether the user is one: the list
// may have changed meanwhile.
func (c *Client) known(conn *net.TCPConn, user string) error {
	if user == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.conns[conn]; there {
		c.conns[conn] = user
	}
	if !c.users.Load().has(user) {
		return errPassword
	}
	return nil
}

// replaceUsers puts another list in place, and ends the connections, and with them the
// associations, of users who are gone or have another password.
func (c *Client) replaceUsers(list []conf.User) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.users.Swap(newUsers(list))
	for conn, user := range c.conns {
		if user != "" && !old.same(user, list) {
			conn.SetLinger(0) // a cut, and not an end
			conn.Close()
		}
	}
}

// muxConfig translates the configuration for the tunnel.
func muxConfig(cfg *conf.Client, log zerolog.Logger, capture *mux.Capture) (mux.ClientConfig, error) {
	mode, err := mux.ParseMode(string(cfg.Mode))
	if err != nil {
		return mux.ClientConfig{}, err
	}
	out := mux.ClientConfig{
		Key:            ed25519.PrivateKey(cfg.PrivateKey),
		Addresses:      cfg.Server.Addresses,
		Mode:           mode,
		Capture:        capture,
		SessionTimeout: cfg.SessionTimeout,
		// limits.streams is the client's own, and may change.
		MaxStreams: conf.MaxTable,
		Cover:      mux.Cover{ALPN: cfg.Server.Cover.ALPN, ServerName: cfg.Server.Cover.ServerName},
		Log:        log,
	}
	for _, k := range cfg.Server.Keys() {
		out.ServerKeys = append(out.ServerKeys, ed25519.PublicKey(k))
	}
	for _, r := range cfg.Rules {
		class, err := mux.ParseClass(string(r.Class))
		if err != nil {
			return mux.ClientConfig{}, err
		}
		out.Rules = append(out.Rules, mux.Rule{
			User: r.User, To: r.To, Ports: [2]uint16{r.Ports.From, r.Ports.To}, DSCP: r.DSCP.Value(), Class: class,
		})
	}
	return out, nil
}
