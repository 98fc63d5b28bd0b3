package dialer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
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
	// lookupAgain is how long a lookup may take before another one is begun beside it: it asks
	// the name servers that there were, and others may be known by now.
	lookupAgain = 2 * time.Second
)

// Lookup resolves a name: by a way, or by the default route if that is nil.
type Lookup func(ctx context.Context, way *Way, host string) ([]netip.Addr, error)

// Names keeps what is known of names. It is safe for concurrent use.
type Names struct {
	lookup Lookup

	mu    sync.Mutex // guards all below; no lookup is made under it
	names map[string]*serverName
}

type serverName struct {
	answers []answer
	asking  map[string]int       // lookups under way, by binding
	asked   map[string]time.Time // when the last of them began
	err     error                // of the last lookup that failed; the default route's first
}

// maxAnswers bounds the answers that are kept: as many paths as there may be, with some
// addresses each.
const maxAnswers = 32

// An answer is what one binding's resolver says. Resolvers need not agree: a captive
// portal's names itself, and a company's knows addresses that others do not.
type answer struct {
	by    string
	addrs []netip.Addr
	began time.Time // the lookup
	at    time.Time // zero: it is doubted
}

// answered takes what the binding's resolver says to a lookup that began then, in the place of
// what it said before, unless it has answered a later lookup.
func (n *serverName) answered(by string, addrs []netip.Addr, began, now time.Time) {
	if slices.ContainsFunc(n.answers, func(a answer) bool { return a.by == by && a.began.After(began) }) {
		return
	}
	n.answers = slices.DeleteFunc(n.answers, func(a answer) bool { return a.by == by })
	n.answers = append(n.answers, answer{by, addrs, began, now})
	if len(n.answers) > maxAnswers {
		n.answers = slices.Delete(n.answers, 0, 1) // the oldest
	}
}

// fresh says that the binding need not ask.
func (n *serverName) fresh(by string) bool {
	return slices.ContainsFunc(n.answers, func(a answer) bool {
		return a.by == by && !a.at.IsZero() && time.Since(a.at) < lookupFresh
	})
}

// NewNames makes an empty one; nil is the system's resolver.
func NewNames(lookup Lookup) *Names {
	if lookup == nil {
		lookup = systemLookup
	}
	return &Names{lookup: lookup, names: make(map[string]*serverName)}
}

// Ask looks a name up by the default route and by the way, unless its answer is
// fresh or somebody has just begun to. The lookups run by start, until ctx ends.
func (r *Names) Ask(ctx context.Context, start func(func()), way *Way, host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[host]
	if n == nil {
		n = &serverName{asking: make(map[string]int), asked: make(map[string]time.Time)}
		r.names[host] = n
	}
	for _, w := range []*Way{nil, way} {
		by := ""
		if w != nil {
			by = w.binding()
		}
		now := time.Now()
		if n.fresh(by) || n.asking[by] > 0 && now.Sub(n.asked[by]) < lookupAgain {
			continue // or the path is not bound
		}
		n.asking[by]++
		n.asked[by] = now
		start(func() { r.run(ctx, n, w, by, host, now) })
	}
}

// Doubt has a name asked again by whoever asks next: none of its addresses answers. What
// was found stays until something else is.
func (r *Names) Doubt(host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.names[host]; n != nil {
		for i := range n.answers {
			n.answers[i].at = time.Time{}
		}
	}
}

// run is the goroutine of one lookup.
func (r *Names) run(ctx context.Context, n *serverName, way *Way, by, host string, began time.Time) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := r.lookup(ctx, way, host)
	if err == nil {
		addrs, err = hosts(host, addrs)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n.asking[by]--; n.asking[by] == 0 {
		delete(n.asking, by)
	}
	switch {
	case err == nil && len(addrs) > 0:
		n.answered(by, addrs, began, time.Now())
		n.err = nil
	case n.err == nil || by == "":
		n.err = plainDNS(err)
	}
}

// hosts returns those of a name's addresses that a host can have: name servers that block a name
// give 0.0.0.0, which connects to this machine.
func hosts(name string, addrs []netip.Addr) ([]netip.Addr, error) {
	left := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return a.Unmap().IsUnspecified() || a.IsMulticast() })
	if len(left) == 0 && len(addrs) > 0 {
		return nil, &net.DNSError{Err: "means " + addrs[0].Unmap().String() + ", which is no host", Name: name}
	}
	return left, nil
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

// Known returns the addresses of a name, those first that the way's own resolver knows,
// and if there are none, whether they are being asked for.
func (r *Names) Known(host string, way *Way) (addrs []netip.Addr, asking bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[host]
	if n == nil {
		return nil, false, nil
	}
	own := ""
	if way != nil {
		own = way.binding()
	}
	for _, mine := range []bool{true, false} {
		for _, a := range slices.Backward(n.answers) { // the latest first
			if (a.by == own) != mine {
				continue
			}
			for _, addr := range a.addrs {
				if !slices.Contains(addrs, addr) {
					addrs = append(addrs, addr)
				}
			}
		}
	}
	return addrs, addrs == nil && len(n.asking) > 0, n.err
}
