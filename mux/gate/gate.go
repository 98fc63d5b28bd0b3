// Package gate says who of those that have connected, and have proved nothing yet,
// may stay: everybody on the internet can connect, and none of them shall keep
// another out.
//
// A Gate has a bounded number of places. An address (IPv6: a /64) gets a share of
// them, and a part is kept for addresses that have proved a key before, by a whole handshake. When it is
// tight, the oldest connection that has said nothing goes first, then the oldest that
// has proved nothing; who has proved a key goes for nobody but the same key, which has a
// share of its own. Where hundreds come at once, on a busy machine, what somebody has said
// waits in the kernel: he is not silent.
package gate

import (
	"iter"
	"net/netip"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/mux/ledger"
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

	mu      sync.Mutex                          // guards the rest
	waiting ledger.Ledger[netip.Prefix, *Place] // who stands there, by address, in order of arrival
	claims  ledger.Ledger[claim, *Place]        // those of them that have proved a key, by that
	proofs  ledger.Ledger[[32]byte, *proof]     // what is remembered, by key, the oldest first,
	proven  map[netip.Prefix]*proof             // and by address
	said    time.Time                           // when somebody was last sent away
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
	return &Gate{places: places, share: share, reserve: reserve, proven: make(map[netip.Prefix]*proof)}
}

// A proof says that an address has proved a key, and when.
type proof struct {
	home  netip.Prefix
	at    time.Time
	place ledger.Entry[[32]byte, *proof]
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

	// Guarded by Gate.mu.
	stage stage
	place ledger.Entry[netip.Prefix, *Place]
	claim ledger.Entry[claim, *Place] // from proved on
}

// A claim is a key that has been proved, and whether that was at an address that had done so before.
type claim struct {
	key   [32]byte
	known bool
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
		g.waiting.Add(&p.place, p.home, p)
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
	return p != nil && now.Sub(p.at) < remember
}

// room says whether p may stand there, and who has to go for it. The caller holds g.mu.
func (g *Gate) room(p *Place) (out *Place, ok bool) {
	held := g.waiting.Held(p.home)
	switch full := g.waiting.Len() >= g.places; {
	case held >= g.share:
		out = oldest(g.waiting.Of(p.home), true)
	case full && g.fair:
		if home, most := g.waiting.Most(); most > held+1 {
			out = oldest(g.waiting.Of(home), true)
		}
	case full:
		out = oldest(g.waiting.All(), p.known)
	case !p.known && g.strangers() >= g.places-g.reserve:
		out = oldest(g.waiting.All(), false)
	default:
		return nil, true
	}
	return out, out != nil
}

// strangers is how many stand there that have proved nothing, from addresses that have not
// either. The caller holds g.mu.
func (g *Gate) strangers() (n int) {
	for w := range g.waiting.All() {
		if !w.known && w.stage != proved {
			n++
		}
	}
	return n
}

// oldest returns the first of those that have proved nothing: one that is silent if there is
// any. known has those count whose address had proved a key before.
func oldest(among iter.Seq[*Place], known bool) (out *Place) {
	left := asked
	for w := range among {
		if w.stage == proved || w.known && !known {
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
	p.stage = gone
	g.waiting.Remove(&p.place)
	g.claims.Remove(&p.claim)
}

// Known says whether its address had proved a key before.
func (p *Place) Known() bool { return p.known }

// Proven says whether it has proved a key by now, or somebody else at its address has.
func (p *Place) Proven(now time.Time) bool {
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	return p.stage == proved || p.g.knows(p.home, now)
}

// Spoke notes that the connection is not a silent one.
func (p *Place) Spoke() { p.reach(spoken) }

// Prove notes that the connection has proved a key in its first bytes. One key has no more than a
// share of the places: the oldest of its connections goes, of those at addresses that are not known if
// there are any. Its own address is not known for that: whoever has a key can say its first bytes from
// everywhere, and the holder's own addresses would be forgotten for these.
func (p *Place) Prove(key [32]byte) {
	p.g.mu.Lock()
	out := p.prove(key)
	p.g.mu.Unlock()
	if out != nil {
		out.leave()
	}
}

// Finish notes that the connection has proved a key by its whole handshake, and its address with it.
func (p *Place) Finish(now time.Time, key [32]byte) {
	p.g.mu.Lock()
	out := p.prove(key)
	p.g.note(p.home, key, now)
	p.g.mu.Unlock()
	if out != nil {
		out.leave()
	}
}

// prove says who has to go. The caller holds g.mu.
func (p *Place) prove(key [32]byte) (out *Place) {
	if p.stage >= proved {
		return nil
	}
	g, fresh, known := p.g, claim{key, false}, claim{key, true}
	if g.claims.Held(fresh)+g.claims.Held(known) >= g.share {
		var ok bool
		if out, ok = g.claims.FirstOf(fresh); !ok {
			out, _ = g.claims.FirstOf(known)
		}
		g.remove(out)
		g.counts.Sent++
	}
	p.stage = proved
	g.claims.Add(&p.claim, claim{key, p.known}, p)
	return out
}

// note remembers that an address has proved a key, in the place of the one that did so the
// longest time ago: of the same key where that has its share. The caller holds g.mu.
func (g *Gate) note(home netip.Prefix, key [32]byte, now time.Time) {
	p := g.proven[home]
	if p == nil {
		p = &proof{home: home}
	}
	g.proofs.Remove(&p.place)
	var old *proof
	switch {
	case g.proofs.Held(key) >= homesEach:
		old, _ = g.proofs.FirstOf(key)
	case g.proofs.Len() >= memory:
		old, _ = g.proofs.First()
	}
	if old != nil {
		g.proofs.Remove(&old.place)
		delete(g.proven, old.home)
		delete(g.knocks.homes, old.home)
	}
	p.at = now
	g.proofs.Add(&p.place, key, p)
	g.proven[home] = p
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
	c.Waiting = g.waiting.Len()
	return c
}
