package mux

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mpsocks/mpsocks/mux/engine"
)

// askNames has the names among the server's addresses looked up.
func (c *Client) askNames(p *clientPath) {
	for _, name := range c.addresses() {
		if _, err := netip.ParseAddrPort(name); err == nil {
			continue
		}
		if host, _, err := net.SplitHostPort(name); err == nil {
			c.names.Ask(c.ctx, c.slots.Go, p.way.dialWay(), host)
		}
	}
}

// doubtNames has all names asked again: no address that is known answers.
func (c *Client) doubtNames() {
	for _, name := range c.addresses() {
		if host, _, err := net.SplitHostPort(name); err == nil {
			c.names.Doubt(host)
		}
	}
}

// maxLearned bounds the addresses that the server may announce.
const maxLearned = 8

// learn notes an address that the server announced, if it can be one of its own: a
// public one, or one of a kind that the configured addresses have. A server must
// not lead its clients to what is in their networks.
func (c *Client) learn(a netip.AddrPort) {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	kind := kindOf(a.Addr())
	fits := kind == kindPublic
	for _, name := range c.addresses() {
		if b, err := netip.ParseAddrPort(name); err == nil {
			fits = fits || kind == kindOf(b.Addr().Unmap())
		} else if host, _, err := net.SplitHostPort(name); err == nil {
			ips, _, _ := c.names.Known(host)
			fits = fits || slices.ContainsFunc(ips, func(ip netip.Addr) bool { return kind == kindOf(ip.Unmap()) })
		}
	}
	if !fits || kind == kindNone {
		c.cfg.Log.Debug().Stringer("address", a).Msg("the server announces an address of a kind that its own are not")
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.learned) < maxLearned && !slices.Contains(c.learned, a) {
		c.learned = append(c.learned, a)
	}
}

// unlearnAfter is how often in a row an announced address may fail on a path.
const unlearnAfter = 4

// unlearn forgets an announced address that fails again and again.
func (c *Client) unlearn(p *clientPath, a netip.AddrPort) {
	if p.book.Fails(a) < unlearnAfter {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.learned = slices.DeleteFunc(c.learned, func(l netip.AddrPort) bool { return l == a })
}

// Kinds of addresses.
const (
	kindNone = iota // of no host
	kindPublic
	kindPrivate
	kindLinkLocal
	kindLoopback
)

var sharedSpace = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598

func kindOf(a netip.Addr) int {
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast():
		return kindNone
	case a.IsLoopback():
		return kindLoopback
	case a.IsLinkLocalUnicast():
		return kindLinkLocal
	case a.IsPrivate() || sharedSpace.Contains(a):
		return kindPrivate
	}
	return kindPublic
}

// targets lists the addresses that are known, as they did: the configured ones, the
// announced ones; only of the family that the path is bound to. Behind a load
// balancer the configured ones come only when the session has no subflow and the
// announced ones fail: they lead to any server. asking says that names may bring
// more; the error, why there is none.
func (c *Client) targets(p *clientPath) (addrs []netip.AddrPort, asking bool, failed error) {
	c.mu.Lock()
	learned, servers := slices.Clone(c.learned), c.servers
	denied := c.denied && c.state == stateEstablished
	c.mu.Unlock()
	now := time.Now()
	live := c.session.core.remotes((*engine.Subflow).Moves)
	denied = denied && (len(live) > 0 || !p.book.Hopeless(learned, now))
	add := func(a netip.AddrPort) {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if l := p.way.Local; l.IsValid() && l.Is4() != a.Addr().Is4() || slices.Contains(addrs, a) {
			return
		}
		addrs = append(addrs, a)
	}
	for _, name := range servers {
		if denied {
			break
		}
		if a, err := netip.ParseAddrPort(name); err == nil {
			add(a)
			continue
		}
		host, port, err := net.SplitHostPort(name)
		if err != nil {
			failed = err
			continue
		}
		n, err := net.DefaultResolver.LookupPort(c.ctx, "tcp", port)
		if err != nil {
			failed = err
			continue
		}
		ips, wait, err := c.names.Known(host)
		for _, ip := range ips {
			add(netip.AddrPortFrom(ip, uint16(n)))
		}
		asking = asking || wait
		if ips == nil {
			if err == nil {
				err = fmt.Errorf("no answer for %s yet", host)
			}
			failed = fmt.Errorf("resolve the server's name: %w", err)
		}
	}
	for _, a := range learned {
		add(a)
	}
	p.book.Order(addrs, live, now)
	if len(addrs) == 0 && denied {
		failed = errNotHere
	}
	if len(addrs) == 0 && failed == nil {
		failed = fmt.Errorf("no server address of the family of %s", p.way.Local)
	}
	return addrs, asking, failed
}

// errNotHere keeps a slot from an address where the server takes no joins (the C
// flag of RFC 8684, Section 3.1): another one is about to be announced.
var errNotHere = errors.New("the server takes no further subflows at this address")

// isConfigured says that an address is one of the configured ones.
func (c *Client) isConfigured(a netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !slices.Contains(c.learned, a)
}
