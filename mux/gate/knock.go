package gate

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

// The cheapest question comes before a place is asked for and before a byte is read: may
// this address knock now? Some thousand connections a second cost little if that is all
// that is done for most of them.

const (
	// homeRate and homeBurst are what an address may that has proved a key before, a
	// second and at once: there may be others behind it who are hostile, and its clients
	// are to come in beside them.
	homeRate, homeBurst = 2000, 2000
	// fresh is how long an address is none that comes for the first time, and visitors
	// how many of them are remembered.
	fresh    = 10 * time.Second
	visitors = 16384
)

// knocks says how often may be knocked. An address that has proved a key has a bucket of
// its own; of what is left for others, a half is for those that have not knocked lately.
type knocks struct {
	others, first *rate.Limiter
	homes         map[netip.Prefix]*rate.Limiter // of proven
	now, before   map[netip.Prefix]struct{}      // who has knocked, in this and the last spell
	turned        time.Time                      // when the spell began
}

func newKnocks(perSecond int) knocks {
	n := rate.Limit(perSecond) / 2
	return knocks{
		others: rate.NewLimiter(n, perSecond/4), first: rate.NewLimiter(n, perSecond/4),
		homes: make(map[netip.Prefix]*rate.Limiter), now: make(map[netip.Prefix]struct{}),
	}
}

// Knock says whether a connection from that address is worth looking at, and if not
// whether that is so for the first time in a while: to be logged.
func (g *Gate) Knock(from netip.Addr, now time.Time) (ok, first bool) {
	home := Home(from)
	g.mu.Lock()
	defer g.mu.Unlock()
	k := &g.knocks
	if k.others == nil {
		return true, false
	}
	if g.knows(home, now) {
		own := k.homes[home]
		if own == nil {
			own = rate.NewLimiter(homeRate, homeBurst)
			k.homes[home] = own
		}
		if own.AllowN(now, 1) {
			return true, false
		}
	}
	if k.visit(home, now) && k.first.AllowN(now, 1) || k.others.AllowN(now, 1) {
		return true, false
	}
	g.counts.Turned++
	first = now.Sub(g.said) > quiet
	g.said = now
	return false, first
}

// visit notes that an address has knocked, and says whether it had not for a while. The
// caller holds g.mu.
func (k *knocks) visit(home netip.Prefix, now time.Time) (first bool) {
	if now.Sub(k.turned) > fresh {
		k.before, k.now, k.turned = k.now, make(map[netip.Prefix]struct{}), now
	}
	_, lately := k.now[home]
	_, before := k.before[home]
	if !lately && len(k.now) < visitors {
		k.now[home] = struct{}{}
		return !before
	}
	return false
}
