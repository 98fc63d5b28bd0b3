package admission

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// guessFree is how many wrong passwords cost nothing: people mistype.
	guessFree = 3
	// guessFirst is what the next one costs; each further one costs double, up
	// to guessMost, which leaves a patient guesser 30,000 a day.
	guessFirst = 100 * time.Millisecond
	guessMost  = 3 * time.Second
	// guessForget is how long it takes until one wrong password is forgiven.
	guessForget = 20 * time.Second
	// guessWait is the longest that an attempt waits for its turn: less than
	// the ten seconds of a whole handshake. With more before it, it is refused without a look.
	guessWait = 6 * time.Second
	// maxUnread is how many of those that are refused are held for guessMost
	// before they hear of it, so that a guesser's connections are no use to him
	// meanwhile.
	maxUnread = 256
	// maxGuesses bounds the addresses and users that are remembered.
	maxGuesses = 4096
	// guessLog is how often wrong passwords are written of in the log.
	guessLog = 15 * time.Second
)

// guesses slows down who tries passwords: each address (gate.Home; on the
// machine itself each of its users, where the system tells) and each SOCKS user
// has a line of its own, in which attempts wait before they are looked at, so
// that hanging up early gains nothing. Who has logged in as a user
// before does not stand in that user's line: strangers keep nobody out.
type guesses struct {
	refused, wrong atomic.Uint64
	unread         atomic.Int32 // that are held

	mu      sync.Mutex // guards all following fields
	lines   map[guessLine]*guessState
	trusted map[guessLine]struct{} // those who have been somebody
	logged  time.Time              // when the log was last written
	unsaid  int                    // wrong ones since then
}

// guessLine is one line: of an address or a user of this machine, of a SOCKS user, or, for trust,
// of both.
type guessLine struct {
	home netip.Prefix
	uid  uint32 // plus one, of a program on this machine; or 0
	user string // of 255 bytes at most
}

type guessState struct {
	wrong int       // that are not forgiven
	since time.Time // when wrong was last counted down or up
	next  time.Time // when the next attempt may be looked at
}

func newGuesses() *guesses {
	return &guesses{lines: make(map[guessLine]*guessState), trusted: make(map[guessLine]struct{})}
}

// turn returns how long an attempt has to wait before it may be looked at; false
// if it is refused, because too many wait before it.
func (g *guesses) turn(from guessLine, user string, now time.Time) (time.Duration, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := g.ready(from, now)
	_, known := g.trusted[guessLine{from.home, from.uid, user}]
	if !known {
		if t := g.ready(guessLine{user: user}, now); t.After(at) {
			at = t
		}
	}
	if at.Sub(now) > guessWait {
		g.refused.Add(1)
		return 0, false
	}
	g.book(from, at)
	if !known {
		g.book(guessLine{user: user}, at)
	}
	return at.Sub(now), true
}

// ready is when a line's next attempt may be looked at, and forgives what is
// old. g.mu is held.
func (g *guesses) ready(l guessLine, now time.Time) time.Time {
	s := g.lines[l]
	if s == nil {
		return now
	}
	if n := int(now.Sub(s.since) / guessForget); n > 0 {
		s.wrong = max(s.wrong-n, 0)
		s.since = now
	}
	if s.wrong == 0 && !s.next.After(now) {
		delete(g.lines, l)
		return now
	}
	if s.next.After(now) {
		return s.next
	}
	return now
}

// book notes that a line's attempt is looked at at a time, and when the next one
// may be. g.mu is held.
func (g *guesses) book(l guessLine, at time.Time) {
	if s := g.lines[l]; s != nil {
		s.next = at.Add(guessCost(s.wrong))
	}
}

// guessCost is what an attempt costs after so many wrong ones.
func guessCost(wrong int) time.Duration {
	if wrong < guessFree {
		return 0
	}
	return min(guessFirst<<min(wrong-guessFree, 8), guessMost)
}

// result notes what an attempt was. It returns whether a wrong one is to be
// written into the log, with how many there were since the last time.
func (g *guesses) result(from guessLine, user string, right bool, now time.Time) (wrong int, say bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if right {
		// What others have tried from here is not forgiven: they may have an
		// account of their own.
		if len(g.trusted) >= maxGuesses {
			for k := range g.trusted { // any: it costs a wait under attack
				delete(g.trusted, k)
				break
			}
		}
		g.trusted[guessLine{from.home, from.uid, user}] = struct{}{}
		return 0, false
	}
	g.wrong.Add(1)
	g.count(from, now)
	g.count(guessLine{user: user}, now)
	g.unsaid++
	wrong = g.unsaid
	if say = now.Sub(g.logged) >= guessLog; say {
		g.logged, g.unsaid = now, 0
	}
	return wrong, say
}

// count adds a wrong one to a line. g.mu is held.
func (g *guesses) count(l guessLine, now time.Time) {
	s := g.lines[l]
	if s == nil {
		if len(g.lines) >= maxGuesses {
			g.evict()
		}
		s = &guessState{}
		g.lines[l] = s
	}
	s.wrong++
	s.since = now
	if next := now.Add(guessCost(s.wrong)); next.After(s.next) {
		s.next = next
	}
}

// evict forgets the mildest of a few lines. g.mu is held.
func (g *guesses) evict() {
	var mildest guessLine
	least, seen := 0, 0
	for l, s := range g.lines {
		if seen == 0 || s.wrong < least {
			mildest, least = l, s.wrong
		}
		if seen++; seen == 16 {
			break
		}
	}
	delete(g.lines, mildest)
}

// Guesses returns how many wrong passwords there were, and how many attempts were refused without
// a look.
func (c *Crowd) Guesses() (wrong, unread uint64) {
	return c.guesses.wrong.Load(), c.guesses.refused.Load()
}
