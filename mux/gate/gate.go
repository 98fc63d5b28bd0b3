// Package gate says who of those that have connected, and have proved nothing yet,
// may stay: everybody on the internet can connect, and none of them shall keep
// another out.
//
// A Gate has a bounded number of places. An address (IPv6: a /64) gets a share of
// them, and a part is kept for addresses that have proved a key before. When it is
// tight, the oldest connection that has said nothing goes first, then the oldest that
// has proved nothing; who has proved a key goes for nobody but the same key, which has a
// share of its own. Where hundreds come at once, on a busy machine, what somebody has said
// waits in the kernel: he is not silent.
package gate

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

const (
	// Places is how many connections may stand at the gate at once.
	Places = 512
	// Share is how many of them one address may have, and one key that has been proved.
	Share = 128
	// Reserve is how many are kept for addresses that have proved a key.
	Reserve = 128
	// memory is how many of those addresses are remembered, homesEach how many of one key,
	// and remember how long.
	memory    = 4096
	homesEach = 256
	remember  = 7 * 24 * time.Hour
	// quiet is how long nobody must have been sent away before it is said anew.
	quiet = time.Minute
	// asked is of how many silent ones the kernel is asked whether they are, for one that
	// comes: what one connection costs is bounded.
	asked = 16
)

// A Gate is safe for concurrent use.
type Gate struct {
	places, share, reserve int
	fair                   bool // see NewFair

	mu      sync.Mutex
	waiting []*Place // in order of arrival
	held    map[netip.Prefix]int
	keys    map[[32]byte]int               // how many stand there that have proved it
	proven  map[netip.Prefix]*list.Element // in recent
	recent  *list.List                     // of *proof, the oldest first
	homes   map[[32]byte]*list.List        // the same of each key, of addresses
	said    time.Time                      // when somebody was last sent away
	counts  Counts
	knocks  knocks
}

// Counts is what a Gate has done.
type Counts struct {
	Waiting int    `json:"waiting"` // now
	Sent    uint64 `json:"sent"`    // away, to make room
	Refused uint64 `json:"refused"` // at once: all that stand there have proved a key
	Turned  uint64 `json:"turned"`  // away, before a byte was read: too many knocked
}

// newGate makes a Gate of the given sizes.
func newGate(places, share, reserve int) *Gate {
	return &Gate{
		places: places, share: share, reserve: reserve,
		held: make(map[netip.Prefix]int), keys: make(map[[32]byte]int), proven: make(map[netip.Prefix]*list.Element), recent: list.New(), homes: make(map[[32]byte]*list.List),
	}
}

// A proof is which key an address has proved, and when.
type proof struct {
	home netip.Prefix
	key  [32]byte
	at   time.Time
	own  *list.Element // in homes of the key
}

// NewRated makes a Gate at which may be knocked so often a second (see Knock).
func NewRated(places, share, reserve, perSecond int) *Gate {
	g := newGate(places, share, reserve)
	g.knocks = newKnocks(perSecond)
	return g
}

// NewFair makes a Gate for connections that stay: when all places are taken, the oldest of
// whoever has most of them goes for one of somebody who has fewer, and who comes while
// nobody has more does not get in.
func NewFair(places, share int) *Gate {
	g := newGate(places, share, 0)
	g.fair = true
	return g
}

// A Place is one connection at a Gate.
type Place struct {
	g     *Gate
	home  netip.Prefix
	known bool   // its address had proved a key before
	leave func() // ends the connection
	// unread says whether it has sent what was not looked at yet; may be nil.
	unread func() bool
	stage  stage
	key    [32]byte // from proved on
}

type stage uint8

const (
	silent stage = iota
	spoken       // it has sent a whole ClientHello
	proved       // it holds a configured key
	gone
)

// Home is what counts as one address: an IPv4 address, or an IPv6 /64.
func Home(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits)
	return p
}

// Enter gives a connection from that address a place, nil when there is none. leave
// is called, from any goroutine, if the place is taken away again. unread says whether
// the connection has sent what was not looked at yet (see Unread); nil is never. first
// says that somebody had to go, for the first time in a while: to be logged.
func (g *Gate) Enter(from netip.Addr, now time.Time, leave func(), unread func() bool) (p *Place, first bool) {
	p = &Place{g: g, home: Home(from), leave: leave, unread: unread}
	g.mu.Lock()
	p.known = g.knows(p.home, now)
	out, ok := g.room(p)
	if ok {
		g.waiting = append(g.waiting, p)
		g.held[p.home]++
	}
	if out != nil || !ok {
		first = now.Sub(g.said) > quiet
		g.said = now
	}
	switch {
	case out != nil:
		g.remove(out)
		g.counts.Sent++
	case !ok:
		g.counts.Refused++
		p = nil
	}
	g.mu.Unlock()
	if out != nil {
		out.leave()
	}
	return p, first
}

// knows says whether an address has proved a key. The caller holds g.mu.
func (g *Gate) knows(home netip.Prefix, now time.Time) bool {
	p := g.proven[home]
	return p != nil && now.Sub(p.Value.(*proof).at) < remember
}

// room says whether p may stand there, and who has to go for it.
func (g *Gate) room(p *Place) (out *Place, ok bool) {
	if g.held[p.home] >= g.share {
		out = g.oldest(func(w *Place) bool { return w.home == p.home })
		return out, out != nil
	}
	if len(g.waiting) >= g.places && g.fair {
		if home, n := g.fullest(); n > g.held[p.home]+1 {
			out = g.oldest(func(w *Place) bool { return w.home == home })
		}
		return out, out != nil
	}
	if len(g.waiting) >= g.places {
		out = g.oldest(func(w *Place) bool { return !w.known || p.known })
		return out, out != nil
	}
	if !p.known {
		n := 0
		for _, w := range g.waiting {
			if !w.known && w.stage != proved {
				n++
			}
		}
		if n >= g.places-g.reserve {
			out = g.oldest(func(w *Place) bool { return !w.known })
			return out, out != nil
		}
	}
	return nil, true
}

// fullest is the address that has most places.
func (g *Gate) fullest() (home netip.Prefix, n int) {
	for h, k := range g.held {
		if k > n {
			home, n = h, k
		}
	}
	return home, n
}

// oldest returns the oldest of those that match and have proved nothing: one that is
// silent if there is any.
func (g *Gate) oldest(match func(*Place) bool) (out *Place) {
	left := asked
	for _, w := range g.waiting {
		if w.stage == proved || !match(w) {
			continue
		}
		if w.stage == silent {
			if w.unread == nil || left == 0 || !w.unread() {
				return w
			}
			left--
		}
		if out == nil {
			out = w
		}
	}
	return out
}

// remove takes a place out. The caller holds g.mu.
func (g *Gate) remove(p *Place) {
	if p.stage == gone {
		return
	}
	if p.stage == proved {
		if g.keys[p.key]--; g.keys[p.key] == 0 {
			delete(g.keys, p.key)
		}
	}
	p.stage = gone
	for i, w := range g.waiting {
		if w == p {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			break
		}
	}
	if g.held[p.home]--; g.held[p.home] == 0 {
		delete(g.held, p.home)
	}
}

// Known says whether its address had proved a key before.
func (p *Place) Known() bool { return p.known }

// Proven says whether somebody has proved a key from its address by now.
func (p *Place) Proven(now time.Time) bool {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	return p.g.knows(p.home, now)
}

// Spoke notes that the connection is not a silent one.
func (p *Place) Spoke() { p.reach(spoken) }

// Prove notes that the connection has proved a key, and its address with it. One key has no
// more than a share of the places: the oldest of its connections goes.
func (p *Place) Prove(now time.Time, key [32]byte) {
	g := p.g
	g.mu.Lock()
	var out *Place
	if p.stage < proved {
		if g.keys[key] >= g.share {
			out = g.oldestOf(key)
			g.remove(out)
			g.counts.Sent++
		}
		p.stage, p.key = proved, key
		g.keys[key]++
	}
	g.note(p.home, key, now)
	g.mu.Unlock()
	if out != nil {
		out.leave()
	}
}

// oldestOf returns the oldest that has proved a key. The caller holds g.mu.
func (g *Gate) oldestOf(key [32]byte) *Place {
	for _, w := range g.waiting {
		if w.stage == proved && w.key == key {
			return w
		}
	}
	return nil
}

// note remembers that an address has proved a key, in the place of the one that did so the
// longest time ago: of the same key where that has its share. The caller holds g.mu.
func (g *Gate) note(home netip.Prefix, key [32]byte, now time.Time) {
	if g.proven[home] != nil {
		g.drop(home)
	}
	own := g.homes[key]
	if own == nil {
		own = list.New()
	}
	var old netip.Prefix
	switch {
	case own.Len() >= homesEach:
		old = own.Front().Value.(netip.Prefix)
	case len(g.proven) >= memory:
		old = g.recent.Front().Value.(*proof).home
	}
	if old.IsValid() {
		g.drop(old)
		delete(g.knocks.homes, old)
	}
	g.homes[key] = own
	g.proven[home] = g.recent.PushBack(&proof{home, key, now, own.PushBack(home)})
}

// drop takes an address out. The caller holds g.mu.
func (g *Gate) drop(home netip.Prefix) {
	p := g.recent.Remove(g.proven[home]).(*proof)
	delete(g.proven, home)
	own := g.homes[p.key]
	if own.Remove(p.own); own.Len() == 0 {
		delete(g.homes, p.key)
	}
}

func (p *Place) reach(s stage) {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	if p.stage < s {
		p.stage = s
	}
}

// Leave gives the place back. It may be called more than once.
func (p *Place) Leave() {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	p.g.remove(p)
}

// Counts returns what the gate has done.
func (g *Gate) Counts() Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.counts
	c.Waiting = len(g.waiting)
	return c
}
