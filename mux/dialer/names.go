package dialer

import (
	"context"
	"errors"
	"net"
	"net/netip"
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

// Lookup resolves a name: by a way, or by the default route if that is nil.
type Lookup func(ctx context.Context, way *Way, host string) ([]netip.Addr, error)

func systemLookup(ctx context.Context, way *Way, host string) ([]netip.Addr, error) {
	r := net.DefaultResolver
	if way != nil {
		r = &net.Resolver{PreferGo: true, Dial: way.dialResolver} // cgo cannot be bound
	}
	return r.LookupNetIP(ctx, "ip", host)
}

// Names keeps what is known of names. It is safe for concurrent use.
type Names struct {
	lookup Lookup

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

// NewNames makes an empty one; nil is the system's resolver.
func NewNames(lookup Lookup) *Names {
	if lookup == nil {
		lookup = systemLookup
	}
	return &Names{lookup: lookup, names: make(map[string]*serverName), changed: make(chan struct{})}
}

// Ask looks a name up by the default route and by the way, unless its answer is
// fresh or somebody does already. The lookups run by start, until ctx ends.
func (r *Names) Ask(ctx context.Context, start func(func()), way *Way, host string) {
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
	for _, w := range []*Way{nil, way} {
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

// Doubt has a name asked again at once: none of its addresses answers. What was
// found stays until something else is.
func (r *Names) Doubt(host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.names[host]; n != nil {
		n.at = time.Time{}
	}
}

// run is the goroutine of one lookup. The first success of a round counts.
func (r *Names) run(ctx context.Context, n *serverName, way *Way, by, host string) {
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

// Known returns the addresses of a name, and if there are none, whether they are
// being asked for.
func (r *Names) Known(host string) (addrs []netip.Addr, asking bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[host]
	if n == nil {
		return nil, false, nil
	}
	return n.addrs, n.addrs == nil && len(n.asking) > 0, n.err
}

// Changed is closed when the next lookup has ended.
func (r *Names) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}
