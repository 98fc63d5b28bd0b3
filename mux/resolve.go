package mux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Names of the server. They are resolved beside the dialling and never in its way:
// an address that is known is dialled at once. What was found serves all paths,
// and as long as nothing else is found.

const (
	lookupTimeout = 10 * time.Second
	// lookupFresh is how old an answer may be before the next dial asks again.
	lookupFresh = time.Minute
)

// lookupFunc resolves a name: by the path way, or by the default route if that
// is nil.
type lookupFunc func(ctx context.Context, way *Path, host string) ([]netip.Addr, error)

func systemLookup(ctx context.Context, way *Path, host string) ([]netip.Addr, error) {
	r := net.DefaultResolver
	if way != nil {
		r = &net.Resolver{PreferGo: true, Dial: way.dialResolver} // cgo cannot be bound
	}
	return r.LookupNetIP(ctx, "ip", host)
}

// dialResolver reaches a name server by the path.
func (p *Path) dialResolver(ctx context.Context, network, address string) (net.Conn, error) {
	d := p.dialer()
	d.SetMultipathTCP(false)
	if p.Local.IsValid() && strings.HasPrefix(network, "udp") {
		d.LocalAddr = &net.UDPAddr{IP: p.Local.AsSlice(), Zone: p.Local.Zone()}
	}
	return d.DialContext(ctx, network, address)
}

// binding names what a path is bound to; "" is the default route.
func (p *Path) binding() string {
	if p.Local.IsValid() {
		return p.Interface + " " + p.Local.String()
	}
	return p.Interface
}

// A resolver keeps what is known of names.
type resolver struct {
	lookup lookupFunc

	mu      sync.Mutex // guards all below; no lookup is made under it
	names   map[string]*serverName
	changed chan struct{} // closed and renewed when a lookup has ended
}

type serverName struct {
	addrs  []netip.Addr
	at     time.Time       // when they were found
	asking map[string]bool // lookups under way, by binding
	err    error           // of the last lookup that failed; the default route's first
}

func newResolver(lookup lookupFunc) *resolver {
	if lookup == nil {
		lookup = systemLookup
	}
	return &resolver{lookup: lookup, names: make(map[string]*serverName), changed: make(chan struct{})}
}

// ask looks a name up by the default route and by the path, unless its answer is
// fresh or somebody does already. The lookups run by start, until ctx ends.
func (r *resolver) ask(ctx context.Context, start func(func()), way *Path, host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[host]
	if n == nil {
		n = &serverName{asking: make(map[string]bool)}
		r.names[host] = n
	}
	if n.addrs != nil && time.Since(n.at) < lookupFresh {
		return
	}
	for _, w := range []*Path{nil, way} {
		by := ""
		if w != nil {
			by = w.binding()
		}
		if n.asking[by] {
			continue // or the path is not bound
		}
		n.asking[by] = true
		start(func() { r.run(ctx, n, w, by, host) })
	}
}

// run is the goroutine of one lookup. The first success of a round counts.
func (r *resolver) run(ctx context.Context, n *serverName, way *Path, by, host string) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	begin := time.Now()
	addrs, err := r.lookup(ctx, way, host)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(n.asking, by)
	switch {
	case err == nil && len(addrs) > 0:
		if n.at.Before(begin) {
			n.addrs, n.at, n.err = addrs, time.Now(), nil
		}
	case n.err == nil || by == "":
		n.err = plainDNS(err)
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// plainDNS drops from an error what differs from one lookup to the next, so that
// it is said once.
func plainDNS(err error) error {
	d, ok := errors.AsType[*net.DNSError](err)
	if !ok {
		return err
	}
	e := *d
	if e.Server = ""; e.IsTimeout {
		e.Err = "no answer"
	}
	return &e
}

// known returns the addresses of a name, and if there are none, whether they are
// being asked for.
func (r *resolver) known(host string) (addrs []netip.Addr, asking bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[host]
	if n == nil {
		return nil, false, nil
	}
	return n.addrs, n.addrs == nil && len(n.asking) > 0, n.err
}

// change is closed when the next lookup has ended.
func (r *resolver) change() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// askNames has the names among the server's addresses looked up.
func (c *Client) askNames(p *clientPath) {
	for _, name := range c.addresses() {
		if _, err := netip.ParseAddrPort(name); err == nil {
			continue
		}
		if host, _, err := net.SplitHostPort(name); err == nil {
			c.names.ask(c.ctx, c.slots.Go, &p.way, host)
		}
	}
}

// firstTargets returns what can be dialled. Only if nothing is known it waits for
// names.
func (c *Client) firstTargets(ctx context.Context, p *clientPath, limit time.Duration) ([]netip.AddrPort, error) {
	c.askNames(p)
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		changed := c.names.change()
		addrs, asking, err := c.targets(p)
		if len(addrs) > 0 {
			return addrs, nil
		}
		if !asking {
			return nil, err
		}
		select {
		case <-changed:
		case <-timeout.C:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// targets lists the addresses that are known: the one that worked last, the
// configured ones, the announced ones; only of the family that the path is bound
// to. asking says that names may bring more; the error, why there is none.
func (c *Client) targets(p *clientPath) (addrs []netip.AddrPort, asking bool, failed error) {
	c.mu.Lock()
	good, learned, servers := p.good, slices.Clone(c.learned), c.servers
	denied := c.denied && c.state == stateEstablished && len(learned) > 0
	c.mu.Unlock()
	add := func(a netip.AddrPort) {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if l := p.way.Local; l.IsValid() && l.Is4() != a.Addr().Is4() || slices.Contains(addrs, a) {
			return
		}
		addrs = append(addrs, a)
	}
	if a, err := netip.ParseAddrPort(good); err == nil && !denied {
		add(a)
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
		ips, wait, err := c.names.known(host)
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
	if len(addrs) == 0 && failed == nil {
		failed = fmt.Errorf("no server address of the family of %s", p.way.Local)
	}
	return addrs, asking, failed
}
