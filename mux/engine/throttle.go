package engine

// Some networks let each TCP connection go fast for its first bytes and slow from then on, by a
// queue of its own, or let nothing more through by it: hotels, mobile carriers, national
// middleboxes. A fresh connection of the same path is fast again. The client, who dials, finds out,
// for both directions: where a subflow brings a small part of what it has brought, it and the freshest
// one of its path are asked at the same moment. A path that has become slow, or is full, keeps
// both answers waiting; where that of the slow one alone is late, twice in a row, another connection
// takes its place. Whether that was right is seen by what fresh ones bring then: if no more,
// the next attempt waits, twice as long each time.

const (
	// throttleWindow is how long, in ns, what a subflow carries is measured, at least: and four of its
	// path's round trips.
	throttleWindow = 300e6
	// throttlePart is what part of the most that a subflow has carried makes it a suspect, and
	// throttleLeast what that has to have been, bytes a nanosecond.
	throttlePart  = 5
	throttleLeast = 1e6 / 8e9
	// throttleUsed is how many bytes in a window say that there is something to carry.
	throttleUsed = 4 << 10
	// throttleLate is how much later its answer has to be than that of the other one, ns, beyond two
	// of that one's round trips: losses are sent again within that.
	throttleLate = 150e6
	// throttleSure is how much later leaves no doubt where bytes go on coming all the time, so that nothing is
	// missing, and throttleComing how lately they have to have come.
	throttleSure   = 800e6
	throttleComing = 300e6
	// throttleVoid is how long is waited for the other answer.
	throttleVoid = 1200e6
	// throttleTurns is how many answers in a row have to be late.
	throttleTurns = 2

	// throttlePace is the least time, in ns, between two connections that are made anew for this on a path,
	// and throttleBeside on all of a session.
	throttlePace   = 1e9
	throttleBeside = 500e6
	// throttleTrial is how long after a subflow was replaced others of its path have to carry more, and
	// throttleDial how long that may take.
	throttleTrial = 2500e6
	throttleDial  = 10e9
	// throttleVain is how long the next one waits where they had nothing to carry.
	throttleVain = 5e9
	// throttleMore is how many times as much as the slow one proves that it was so.
	throttleMore = 2
	// throttlePause is how long nothing is tried after one that proved nothing, at first, and throttlePatience
	// at most.
	throttlePause    = 15e9
	throttlePatience = 300e9
	// What a connection carries before it is slow is believed when two have shown about the same, for
	// throttleHolds, ns. Then others are made before that.
	throttleHolds = 120e9
)

// A throttle is what a path is known to do to its connections.
type throttle struct {
	at int64 // when what they carry was last looked at

	asked, fresh *Subflow // whose answers are compared, nil = none are
	askedAt      int64

	next  int64 // no connection is made anew before,
	pause int64 // and how long that was where the last one proved nothing

	tried   *Subflow // whose end is to prove something, nil = none
	triedAt int64    // when that was ordered, and from its end on when it ended
	over    bool     // it has ended,
	fair    bool     // and a fresh one had something to carry since
	rate    float64  // that it had then, bytes a nanosecond

	credit uint64 // bytes that a connection carries before it is slow; 0 = not known
	agreed bool   // two have shown that
	until  int64  // and how long it is believed
}

// A pulse is what a subflow carries, both ways, as the kernels count it.
type pulse struct {
	bytes uint64  // until its path was last looked at,
	from  uint64  // and the time before
	rate  float64 // between the two, bytes a nanosecond,
	best  float64 // and the most of it, until an answer came in time
	fast  uint64  // bytes before it became slow
	late  int     // answers in a row that were late alone
	trip  int64   // how long the last answer took, ns
	slow  bool    // another one is to take its place
}

// throttles finds the subflows of a path that something on the way has slowed, at the client.
func throttles(e *Engine, p *Path, now int64) {
	t := &p.throttle
	if !e.table.client || p.state != PathUp {
		t.asked = nil
		return
	}
	if t.asked != nil && t.compare(p, now) {
		t.ask(p, now)
	}
	window := max(int64(throttleWindow), 4*p.rtt)
	passed := now - t.at
	if passed < window {
		return
	}
	t.at = now
	used, dialled, other := false, false, false
	for _, f := range p.subs {
		slow := f.pulse.slows()
		f.pulse.look(f.carried(), passed)
		used, dialled, other = used || f.pulse.used(), dialled || f.pulse.slow, other || f.pulse.slows() != slow
	}
	if other {
		p.arrange()
	}
	t.prove(p, now)
	waits := t.tried != nil || dialled || now < t.next
	if t.asked == nil && used && (!waits || t.pause == 0) {
		t.ask(p, now)
	}
	if waits || now-e.renewedAt < throttleBeside {
		return
	}
	if f := t.suspect(p); f != nil {
		t.tried, t.triedAt, t.over, t.fair, t.rate = f, now, false, false, f.pulse.rate
		renewSlow(e, p, f, now)
	} else if f := t.due(p, now); f != nil {
		renewSlow(e, p, f, now)
	}
}

// look notes what was carried in the time that passed.
func (s *pulse) look(carried uint64, passed int64) {
	s.from, s.bytes = s.bytes, carried
	s.rate = float64(s.bytes-s.from) / float64(passed)
	if s.best = max(s.best, s.rate); !s.fell() {
		s.fast, s.late = carried, 0
	}
}

// slows says that its connection is slowed by itself, as far as can be seen.
func (s *pulse) slows() bool { return s.slow || s.late >= throttleTurns }

// used says that there was something to carry.
func (s *pulse) used() bool { return s.bytes-s.from >= throttleUsed }

// fell says that it carries a small part of what it did.
func (s *pulse) fell() bool { return s.best >= throttleLeast && s.rate < s.best/throttlePart }

// ask asks a subflow that has become slow, of several the one that has carried most, and the freshest one.
func (t *throttle) ask(p *Path, now int64) {
	var old, fresh *Subflow
	for _, f := range p.subs {
		if f.state != Moving || f.pulse.slow || f.probeSent != 0 {
			continue
		}
		if f.pulse.fell() && f.pulse.late < throttleTurns && (old == nil || f.carried() > old.carried()) {
			old = f
		}
		if fresh == nil || f.carried() <= fresh.carried() {
			fresh = f
		}
	}
	if old == nil || fresh == old {
		return
	}
	t.asked, t.fresh, t.askedAt = old, fresh, now
	old.ping(now)
	fresh.ping(now)
}

// compare takes the two answers, or the want of one, and says whether to ask once more.
func (t *throttle) compare(p *Path, now int64) (again bool) {
	f, g := t.asked, t.fresh
	long := now - t.askedAt
	switch {
	case f.state != Moving || g.state != Moving:
		f.pulse.late = 0
	case g.replied < t.askedAt: // the path keeps that one waiting, too
		if long <= throttleVoid+4*p.rtt {
			return false
		}
		f.pulse.late = 0
	case f.replied >= t.askedAt:
		if f.pulse.trip-g.pulse.trip <= throttleLate+2*g.pulse.trip {
			f.pulse.late, f.pulse.best = 0, f.pulse.rate // it brings what it is given
		} else {
			if f.pulse.late++; t.credit != 0 {
				f.pulse.late = throttleTurns
			}
			again = f.pulse.late < throttleTurns
		}
	case long <= t.sure()+3*g.pulse.trip || now-max(f.heard, f.progress) > throttleComing:
		return false
	default:
		f.pulse.late = throttleTurns
	}
	if t.asked = nil; f.pulse.slows() {
		p.arrange()
	}
	return again
}

// sure is how much later an answer that is not there yet leaves no doubt: less where the path was seen to
// do that.
func (t *throttle) sure() int64 {
	if t.credit != 0 {
		return throttleSure / 2
	}
	return throttleSure
}

// brings says that the one that was asked has brought something since.
func (t *throttle) brings() bool { return max(t.asked.heard, t.asked.progress) > t.askedAt }

// frozen says that the one that was asked has brought nothing since, though the other has answered.
func (t *throttle) frozen(f *Subflow) bool {
	return f == t.asked && t.fresh.replied >= t.askedAt && !t.brings()
}

// suspect is the subflow whose answers were late alone, or nil.
func (t *throttle) suspect(p *Path) *Subflow {
	for _, f := range p.subs {
		if s := &f.pulse; f.state == Moving && !s.slow && s.late >= throttleTurns && s.fell() {
			return f
		}
	}
	return nil
}

// due is a subflow that is about to become slow, or nil.
func (t *throttle) due(p *Path, now int64) *Subflow {
	if !t.agreed || now > t.until {
		return nil
	}
	for _, f := range p.subs {
		if s := &f.pulse; f.state == Moving && !s.slow && s.used() && s.bytes >= t.credit-t.credit/8 {
			return f
		}
	}
	return nil
}

// renewSlow has another connection take the place of a subflow, which takes nothing new from here on.
func renewSlow(e *Engine, p *Path, f *Subflow, now int64) {
	t := &p.throttle
	f.pulse.slow = true
	p.passage.anew() // what was so little was its own
	t.next, e.renewedAt = now+throttlePace, now
	p.arrange()
	e.orders.Replace = append(e.orders.Replace, f)
	e.say(p, f, now-f.born, ConnectionSlowed)
}

// ConnectionSlowed is what is said of a subflow that something on the way has slowed by itself, or is
// about to: After is its age.
const ConnectionSlowed = "connection slowed by itself: another one takes its place"

// prove finds out what came of a subflow's end.
func (t *throttle) prove(p *Path, now int64) {
	old := t.tried
	if old == nil {
		return
	}
	if !t.over && old.state == Ended {
		t.over, t.triedAt = true, now
	}
	for _, f := range p.subs {
		s := &f.pulse
		if f == old || s.from >= old.pulse.fast/2 {
			continue
		}
		if s.rate >= max(throttleMore*t.rate, throttleLeast) {
			t.learn(old.pulse.fast, now)
			return
		}
		t.fair = t.fair || t.over && s.used() && s.rate > t.rate/2
	}
	if long := now - t.triedAt; long <= throttleTrial || !t.over && long <= throttleDial {
		return
	}
	if t.tried, t.next = nil, now+throttleVain; t.fair || !t.over {
		t.credit, t.agreed = 0, false
		t.pause = min(max(2*t.pause, throttlePause), throttlePatience)
		t.next = now + t.pause
	}
	for _, f := range p.subs { // they are asked anew then
		f.pulse.late = 0
	}
	p.arrange()
}

// learn notes that a connection was fast for so many bytes, and that the next one is fast again.
func (t *throttle) learn(fast uint64, now int64) {
	t.tried, t.pause = nil, 0
	before := t.credit
	t.credit, t.until = fast, now+throttleHolds
	if t.agreed = fast < before+before/2 && before < fast+fast/2; t.agreed {
		t.credit = min(before, fast)
	}
}
