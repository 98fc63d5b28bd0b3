package server

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/conf"
)

const (
	// brakeBurst is how many seconds' worth of new destinations, or of refusals, may
	// come at once: a browser's page has some dozens.
	brakeBurst = 10
	// maxRecent is how many destinations of a client are not new.
	maxRecent = 4096
)

// A brake bounds how fast a client reaches new destinations, so that it cannot scan
// the internet by this server. It is off unless the operator wants it. It is safe for
// concurrent use; the zero value is off.
type brake struct {
	mu           sync.Mutex // guards the rest
	destinations *rate.Limiter
	refusals     *rate.Limiter
	recent       remotes // that were reached lately
}

// set takes the configuration's bounds.
func (b *brake) set(l *conf.ServerLimits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change := func(limiter **rate.Limiter, perSecond int) {
		switch {
		case perSecond <= 0:
			*limiter = nil
		case *limiter == nil:
			*limiter = rate.NewLimiter(rate.Limit(perSecond), perSecond*brakeBurst)
		default:
			(*limiter).SetLimit(rate.Limit(perSecond))
			(*limiter).SetBurst(perSecond * brakeBurst)
		}
	}
	change(&b.destinations, l.DestinationsPerSecond)
	change(&b.refusals, l.RefusalsPerSecond)
	b.recent.limit = maxRecent
}

// admits says whether the client may reach a destination now.
func (b *brake) admits(dst netip.AddrPort) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.destinations == nil && b.refusals == nil {
		return true
	}
	if r := b.recent.lookup(dst); r != nil {
		r.seen = true
		return true
	}
	if b.refusals != nil && b.refusals.Tokens() < 1 {
		return false
	}
	if b.destinations != nil && !b.destinations.AllowN(time.Now(), 1) {
		return false
	}
	b.recent.slot(dst)
	return true
}

// refused notes that a destination has refused a CONNECT.
func (b *brake) refused() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refusals != nil {
		b.refusals.AllowN(time.Now(), 1)
	}
}
