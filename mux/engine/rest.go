package engine

import "github.com/mpsocks/mpsocks/mux/gauge"

// A path at rest costs next to nothing. One of its subflows stays warm: the one by which
// something came last, so that both halves mean the same one without a word. The client,
// behind the NATs, asks on it as often as they need (keeper.go); the server is quiet as
// long as it does. The others stay open, and nobody asks on them. Opening one again would
// take three round trips and some 6 kB of handshakes; open, they cost nothing, and one
// question and its answer, 270 bytes and one round trip, when they are needed again. What
// has been silent for longer than the path is known to bear may be gone: it is asked
// first (Resting), and dialled anew where no answer comes. Meanwhile the warm one carries.

const (
	// restAfter is how long there must have been next to nothing to carry, and trickle
	// how many bytes in that time are next to nothing: a question to a name server, news
	// of open ports.
	restAfter = 20e9
	trickle   = 1 << 10

	// pourBytes is how much comes in quietAfter, at least, of which it is asked why it ends: half of what a
	// call brings.
	pourBytes = 2 << 10

	// keepBusy is how long a subflow of a path in use may be silent before the client
	// asks: all that the path has are to be fit at any time.
	keepBusy = 15e9
	// keepLate is how much later the server asks, who leaves it to the client.
	keepLate = 5e9
	// keepLost is when the server asks on a path at rest: the client should have, and may
	// be gone.
	keepLost = keepMost + 4e9
)

// A stir tells when there was lately more than a trickle.
type stir struct {
	at    int64  // when there last was
	since int64  // when this count began,
	base  uint64 // and from where
}

// note takes how many bytes there were in all; more than so many in so many ns are more than a trickle.
func (s *stir) note(now int64, total, bytes uint64, within int64) {
	switch {
	case total-s.base > bytes:
		*s = stir{now, now, total}
	case now-s.since > within:
		s.since, s.base = now, total
	}
}

// lately says that it was not long ago.
func (s *stir) lately(now int64) bool { return now-s.at < restAfter }

// stirs notes what the session and its paths have carried. received is in bytes.
func stirs(e *Engine, now int64, received uint64) {
	e.stirred.note(now, e.octets+received, trickle, restAfter)
	e.poured.note(now, received, pourBytes, quietAfter)
	for _, p := range e.paths {
		p.used.note(now, p.sent, trickle, restAfter)
	}
}

// keep lets a path rest or wakes it, and asks where it is time.
func keep(e *Engine, p *Path, now int64) {
	awake, warm, client := p.awake(e, now), p.warm(), e.table.client
	if awake && !p.woken && now-p.delay.Heard > gauge.DelayOld {
		p.delay.Quick = gauge.DelayLeast // what it did not need to know
	}
	p.woken = awake
	lays := false
	for _, f := range p.subs {
		silence := now - f.heard
		switch {
		case f.state == Ended || f.probeSent != 0:
		case f.state == Resting && (awake || warm == nil):
			f.ping(now)
		case f.state == Resting:
		case !awake && f == warm && client:
			if silence > p.keeper.every() {
				f.ask(e, now)
			}
		case !awake && f.state == Moving && f != warm && silence > p.trust(client) && f.marks.head == f.marks.tail:
			f.state.on(rested)
			f.restAt, lays = now, true
		case awake && client && silence > min(keepBusy, p.keeper.every()), awake && silence > keepBusy+keepLate:
			f.ping(now)
		}
	}
	if !client && len(p.subs) > 0 && now-p.heard > keepLost {
		for _, f := range p.subs {
			f.ping(now)
		}
	}
	if lays {
		p.arrange()
	}
}

// unanswered tells the path of a question that has no answer and gets none.
func (f *Subflow) unanswered() {
	if f.probeSent != 0 && f.silence > 0 {
		f.path.keeper.missed(f.probeSent, f.silence)
		f.silence = 0
	}
}

// sleepMost is how long, in ns, a session need not be looked at while its paths rest.
const sleepMost = 5e9

// sleep returns how long nothing is due, if nothing happens meanwhile.
func sleep(e *Engine, now int64) int64 {
	if len(e.subs) == 0 {
		return TickIdle
	}
	next := now + sleepMost
	for _, f := range e.subs {
		if f.probeSent != 0 || f.state.Stale() {
			return TickIdle
		}
	}
	for _, p := range e.paths {
		warm := p.warm()
		switch {
		case p.woken:
			return TickIdle
		case warm == nil:
		case e.table.client:
			next = min(next, warm.heard+p.keeper.every())
		default:
			next = min(next, p.heard+keepLost)
		}
	}
	return max(next-now, TickIdle)
}

// sleeps says that nothing has been written on the subflow for so long that its kernel has
// nothing new to tell.
func (f *Subflow) sleeps(now int64) bool {
	return f.tx.valid && f.probeSent == 0 && f.marks.una == f.marks.tail && !f.state.Stale() && !f.blocked &&
		now-f.lastSend > toldAll && f.measured-f.lastSend > toldAll/2
}

// toldAll is how long after the last write all of it has been acknowledged, in ns.
const toldAll = 5e9
