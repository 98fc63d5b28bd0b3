package engine

import "github.com/mpsocks/mpsocks/mux/sched"

// A thin path is slow without being dead: what its subflows have sent stands in one queue,
// and TCP's initial windows alone may be seconds of it, before a round trip shows them. So a
// subflow waits with its path: as long as the path brings something, and nothing that was
// sent later, what is behind has not stalled. RFC 8985 finds losses so within a connection.

// A passage is how what a path's subflows have sent is acknowledged, taken together.
type passage struct {
	at      int64 // when something last was, ns
	reached int64 // what was written to some subflow then has left the bottleneck
	gap     int64 // longest time between two acknowledgements while there was a queue, fading

	since int64 // since when bytes are counted; 0 = no queue stands
	bytes uint64
	rate  float64 // what came, bytes a nanosecond, while a queue stood; 0 = not known
	times int     // that this was next to nothing in a row,
	thin  bool    // so that it is believed
}

// anew has it found out again whether the path is thin.
func (t *passage) anew() { t.since, t.times, t.thin = 0, 0, false }

const (
	// gapFade: each acknowledgement takes one part in so many of the longest gap.
	gapFade = 16
	// gapMost is what ends a measurement, ns: two full packets at 24 kbit/s take less.
	gapMost = 1e9
	// gapQueue is how much has to be under way, in bytes, for the time between two
	// acknowledgements to be the path's: two full packets and more.
	gapQueue = 3 * 1448
	// thinRate is what a thin path carries at most, bytes a nanosecond: a megabit a second,
	// of which TCP's initial window is more than a tenth of a second.
	thinRate   = 1e6 / 8e9
	thinWindow = 300e6 // ns in which that is measured, at least,
	thinStands = 200e6 // ns that what is under way takes to leave, beyond two round trips
	thinMet    = 100e6 // ns of queue that is in no doubt
	thinMemory = 30e9  // and for how long after the last acknowledgement it holds
	// thinShare: beside a path that brings so many times as much it carries nothing large.
	thinShare = 20
	// stopBytes is how much is held, at least, where something is taken to wait for what is missing.
	stopBytes = 64 << 10
	// thinLate is how old, in ns, what a thin path has may be before it goes once more by another.
	thinLate = 150e6
)

// notePassage notes that a subflow's kernel has acknowledged so many bytes, those behind a gap too: where a
// queue drops, the others may wait for long while the path brings as much as ever.
func notePassage(p *Path, f *Subflow, now int64, got uint64) {
	m := &p.passage
	bytes := max(got, f.passed) - f.passed
	f.passed += bytes
	if f.gaugedAt != 0 && f.acked >= f.gauged {
		m.reached, f.gaugedAt = max(m.reached, f.gaugedAt), 0
	}
	if !m.thin && p.proven > thinShare*thinRate { // far from it, and busy
		m.since, m.times, m.rate = 0, 0, p.proven
	} else if out := outstanding(p); out <= gapQueue {
		m.since, m.bytes = 0, 0
	} else if m.count(now, bytes, out, p.rtt, met(p)) {
		p.arrange()
	}
	m.at = now
}

// count notes what has come out of a queue of so many bytes, and reports whether the path is
// seen to be thin, or no longer. What comes back from the dead brings little at first, and TCP's
// first round trips on a long way do: so it has to be little twice in a row, to stand for longer
// than the way is, and to have met a queue, by the longest round trip.
func (m *passage) count(now int64, bytes uint64, out int, rtt, met int64) (other bool) {
	gap := now - m.at
	if m.since == 0 || gap > gapMost {
		m.since, m.bytes, m.times = now, 0, 0
		return false
	}
	if gap > 0 {
		m.gap = max(m.gap-m.gap/gapFade, gap)
	}
	if m.bytes += bytes; now-m.since < max(thinWindow, 2*rtt) {
		return false
	}
	m.rate = float64(m.bytes) / float64(now-m.since)
	m.since, m.bytes = now, 0
	was := m.thin
	switch {
	case m.rate >= thinRate:
		m.times, m.thin = 0, false
	case float64(out) > m.rate*float64(2*rtt+thinStands) && met > rtt+thinMet:
		m.times++
		m.thin = m.thin || m.times > 1
	}
	return m.thin != was
}

// met is the longest of the subflows' round trips, ns.
func met(p *Path) (longest int64) {
	for _, f := range p.subs {
		longest = max(longest, f.tx.srtt)
	}
	return longest
}

// outstanding is how many bytes no kernel has acknowledged, as of the last reports.
func outstanding(p *Path) (n int) {
	for _, f := range p.subs {
		if f.state != Ended {
			n += f.tx.outstanding
		}
	}
	return n
}

// holds says that the path has lately shown to carry next to nothing.
func (m *passage) holds(now int64) bool { return m.thin && now-m.at < thinMemory }

// gaugeThin notes what a thin path is good for at the moment.
func gaugeThin(e *Engine, p *Path, now int64) {
	p.idle, p.filled, p.ahead = false, false, 0
	if !p.passage.holds(now) {
		return
	}
	out := outstanding(p)
	p.filled = out > gapQueue
	p.ahead = int64(float64(out) / p.passage.rate)
	for _, o := range e.paths {
		p.idle = p.idle || o != p && o.state == PathUp && !o.spare() && o.proven > thinShare*p.passage.rate
	}
}

// queued says that what a subflow sent at a time may still stand in the path's queue: the
// path, which is thin, or alone and not known to be more, brings what was sent before it.
func queued(e *Engine, f *Subflow, now, since, limit int64) bool {
	p := f.path
	m := &p.passage
	switch {
	case m.reached > since:
		return false
	case p.passage.holds(now): // a subflow that waits has measured nothing of it
		for _, g := range p.subs {
			limit = max(limit, g.stallTime())
		}
	case m.rate >= thinRate || outstanding(p) <= gapQueue || beside(e, p):
		return false
	}
	return now-m.at <= max(limit, 2*m.gap)
}

// beside says that another path is up, so that what is held up has another way.
func beside(e *Engine, p *Path) bool {
	for _, o := range e.paths {
		if o != p && o.state == PathUp && o.warm() != nil {
			return true
		}
	}
	return false
}

// silence is how long a path may bring nothing before it is dark.
func silence(e *Engine, p *Path) int64 {
	if m := &p.passage; m.thin || m.rate < thinRate && !beside(e, p) {
		return max(darkAfter, 2*m.gap)
	}
	return darkAfter
}

// behind returns the path by which alone what is first without a Data ACK goes, where it takes its time
// and another one might have it, or nil: the path is thin, and nothing else waits or it brings next to
// nothing beside that one; or much is held until it is there, nothing else waits, and a nearer path
// is at rest, as behind a stream whose window is full.
func behind(e *Engine, now int64) (slow *Path) {
	q := &e.held.out
	sg := q.Live(q.Head)
	if sg == nil || sg.On == 0 || sg.On&arrived != 0 {
		return nil
	}
	idle := e.table.queue.Idle()
	for _, p := range e.paths {
		thin := p.passage.holds(now)
		if sg.On&^slotsOf(p) != 0 || !thin && (!idle || q.Held < stopBytes) {
			continue
		}
		for _, f := range p.subs {
			if sg.On&(1<<f.slot) == 0 {
				continue
			}
			if thin && (idle || p.idle && f.age(now) > thinLate) || !thin && rests(e, p, f.age(now)) {
				return p
			}
		}
	}
	return nil
}

// rests says that a path much nearer than that one has nothing to do, and would have brought already
// what is of that age, ns.
func rests(e *Engine, slow *Path, age int64) bool {
	for _, o := range e.paths {
		if o != slow && nearer(o, slow) && age > max(o.srtt, o.rtt) && o.state == PathUp && !o.spare() && o.warm() != nil && outstanding(o) <= gapQueue {
			return true
		}
	}
	return false
}

// spared leaves a stream's first packets, which are a small flow's yet large, those subflows that carry
// bulk of a thin path, and of one that may be: each other one would put a window more into its queue.
func spared(r *chooser, set uint64, now int64) uint64 {
	left := set
	for i, f := range r.candSub {
		if !r.cands[i].Bulk && (f.path.passage.holds(now) || laden(f.path)) {
			left &^= 1 << i
		}
	}
	if left == 0 {
		return set
	}
	return left
}

// laden says that what the path was given stands in a queue, and that it has not shown to be more than
// thin.
func laden(p *Path) bool {
	out := outstanding(p)
	for _, f := range p.subs {
		out += f.pendingSize
	}
	return out > 2*sched.StartBytes && p.proven < thinRate && p.delay.Count > 0 && p.delay.Last() > thinMet
}
