package engine

import (
	"math"

	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/gauge"
	"github.com/mpsocks/mpsocks/mux/sched"
)

const (
	// TickBusy is how soon, in ns, Tick is to be called again while bulk is under way,
	// something waits, or something stalls.
	TickBusy = 5e6
	// TickCalm is the same, at most, while small flows alone are under way: they need a
	// tick when something of theirs would be overdue.
	TickCalm = 50e6
	// TickIdle is the same of a session at rest, at least: stalls and ends wake it anyway.
	TickIdle = 250e6

	// probeTimeout is when an unanswered probe on an idle subflow makes it stale.
	probeTimeout = 3e9
	// quietAfter is how long a path may bring nothing while others do, before it is
	// asked; then an answer has to come within quietTimeout. A path that has brought
	// nothing for quietWatch more is one that rests, and is not asked again.
	quietAfter   = 500e6
	quietTimeout = 700e6
	quietWatch   = 10e9

	// A subflow is stale when nothing was acknowledged for two round trips, but never
	// sooner than minStall: the machine may have been busy. Nor later than maxStall, or two of the
	// shortest: a round trip in a full queue may have been seconds, and what is lost waits no longer.
	minStall = 30e6
	maxStall = 3e9
	// stallGap is so many times that for which a subflow may wait for what is missing while
	// more and more arrives behind it: the way is there, and a retransmission was lost.
	stallGap = 3
	// stallUnknown stands for the two round trips before one was measured.
	stallUnknown = 500e6

	// sweepEvery is how often a part of the flows is looked at for idle ones: a small
	// one, so that no tick takes long.
	sweepEvery = 100e6

	// darkAfter is how long a path must have been silent: a loss stalls one subflow
	// while its neighbours go on.
	darkAfter = 20e6

	// replaceAfter is how long a subflow may be stale before another is dialled for
	// it; replaceAlone is the same while no subflow of the session moves: nothing is
	// carried until another one is up, and perhaps only by another server.
	replaceAfter = 700e6
	replaceAlone = 300e6

	// toldAgain is how long what is said of a path's death stands for what follows it.
	toldAgain = 3e9
)

// Orders are what a Tick wants done. They are valid until the next one.
type Orders struct {
	Tune    []Tuning
	Replace []*Subflow // another is to be dialled in the place of these
	Said    []Saying   // for the log
	Ack     *Subflow   // where a Data ACK of its own goes, or nil
	Hold    int64      // how long packets may wait for order, ns
	Busy    bool       // something is under way or waits to be, or was since the last Tick
	Alone   bool       // there is no subflow: whatever waits does so for one
	Next    int64      // the next Tick is due after this long, ns
	Expired bool       // the session was without a subflow for too long
}

// FlowsMoved is what is said of a path that died with something under way, when all of
// it has gone by others; After is how long that took.
const FlowsMoved = "path died: flows moved to others"

// A Saying is something that a log may tell.
type Saying struct {
	At    *Path
	Path  string   // its name then
	Sub   *Subflow // or nil: it is about the path
	What  string
	After int64 // ns since the last acknowledgement, or since it went stale
}

func (e *Engine) say(p *Path, f *Subflow, after int64, what string) {
	e.orders.Said = append(e.orders.Said, Saying{p, p.cfg.Name, f, what, after})
}

// Tick does what is due: it finds stalls, measures, and chooses how connections are
// set. passed is the time since the last one, and received what has come since the
// session began, in bytes.
func (e *Engine) Tick(now, passed int64, received uint64) *Orders {
	if e.rec != nil {
		e.rec.note(entry{Op: "tick", Now: now, N: []int64{passed, int64(received)}})
		defer e.rec.orders(&e.orders)
	}
	o := &e.orders
	clear(o.Tune)
	clear(o.Replace)
	clear(o.Said)
	*o = Orders{Tune: o.Tune[:0], Replace: o.Replace[:0], Said: o.Said[:0]}
	if e.closed {
		return o
	}
	if len(e.subs) == 0 && e.lastUp != 0 && now-e.lastUp > e.timeout {
		e.lastUp = 0
		o.Expired = true
		return o
	}
	for _, p := range e.paths {
		p.proof, p.stalled = 0, 0
	}
	for _, f := range e.subs {
		p := f.path
		p.heard = max(p.heard, f.heard)
		e.heard = max(e.heard, p.heard)
		if f.state == Ended {
			continue
		}
		e.watch(f, now)
		f.gather.due(now)
		p.proof = max(p.proof, f.proof)
		if f.state.Stale() && !f.overslept {
			p.stalled = max(p.stalled, f.staleAt)
		}
	}
	stirs(e, now, received)
	for _, p := range e.paths {
		keep(e, p, now)
		inquire(e, p, now)
		e.judge(p, now)
		throttles(e, p, now)
	}
	if e.disowned != 0 { // one look at all that is under way, whatever paths there are
		e.held.regain(e.disowned)
		e.disowned = 0
	}
	seek(e, now)
	e.lossy = gauge.LostLately(e.lossAt, now)
	e.table.queue.Grace = len(e.subs) == 0 || e.grace.lasts(now, e.table.queue.Bytes)
	e.estimate(now)
	e.budget.Refill(passed, e.octets+received, e.table.queue.Backlog() > 0)
	if now-e.swept > sweepEvery {
		e.swept = now
		e.table.sweep(now)
	}
	o.Ack, o.Hold = e.AckBy(), e.holdBound
	o.Busy, o.Alone = e.Busy() || e.activeAt == now && e.octets > 0, len(e.subs) == 0
	switch {
	case !o.Busy, o.Alone:
		o.Next = sleep(e, now)
	case !e.table.queue.Idle() || e.held.waits():
		o.Next = TickBusy
	default:
		o.Next = min(e.lull(now), e.held.lack.next(now))
	}
	e.calm, e.gaveBulk = o.Next > TickBusy && !o.Alone, false
	return o
}

// Busy says that something is under way or waits to be.
func (e *Engine) Busy() bool {
	return e.held.out.Head != e.held.out.Tail || !e.table.queue.Idle() || e.held.waits()
}

// Flying says whether something is without an acknowledgement, and how many ns a round trip
// takes by the nearest subflow that moves, 0 if none does.
func Flying(e *Engine) (flying bool, trip int64) {
	for _, f := range e.subs {
		if f.Moves() && (trip == 0 || f.tx.srtt < trip) {
			trip = f.tx.srtt
		}
	}
	return e.held.out.Head != e.held.out.Tail, trip
}

// Silent is for how long, in ns, nothing has come while some subflow was stale: 0 while one moves,
// and as long as can be where there is none.
func Silent(e *Engine, now int64) int64 {
	longest := int64(-1)
	for _, f := range e.subs {
		switch {
		case f.Moves():
			return 0
		case f.state.Stale():
			longest = max(longest, now-f.staleAt)
		case f.state != Ended:
			longest = max(longest, now-f.heard)
		}
	}
	if longest < 0 {
		return math.MaxInt64
	}
	return min(longest, now-e.heard)
}

// watch finds out whether a subflow stalls.
func (e *Engine) watch(f *Subflow, now int64) {
	wait := f.age(now)
	if p := now - f.progress; p < wait {
		wait = p
	}
	switch limit := f.stallTime(); {
	case wait > limit && queued(e, f, now, max(now-wait, f.progress), limit):
	case wait > limit && !f.gaps(now, wait, limit):
		e.stall(f, now, overdue)
	case f.state == Resting && max(f.heard, f.progress) > f.restAt:
		f.state.on(progress)
	case f.probeSent != 0 && now-max(f.probeSent, f.heard) > max(f.probeTimeout(now), limit) &&
		(f.acked >= f.probeEnd || !queued(e, f, now, max(f.probeSent, f.progress), limit)):
		f.unanswered()
		f.overslept = f.overslept || f.state == Resting
		e.stall(f, now, overdue)
	case f.state.Stale() && f.marks.una == f.marks.tail && f.probeSent == 0 && (!f.tx.kernel || f.tx.outstanding == 0):
		e.recover(f, now)
	case f.state.Stale() && f.progress > f.staleAt:
		e.recover(f, now)
	}
	if f.state.Stale() && now-f.staleAt > e.replaceWait() && f.state.on(forsaken) {
		f.path.arrange() // a subflow that is moving carries bulk instead
		e.orders.Replace = append(e.orders.Replace, f)
	}
	f.hold(e)
}

// stall takes the subflow out of use and sends what it holds on others.
func (e *Engine) stall(f *Subflow, now int64, why event) {
	if f.shelve(e, now, why) {
		e.say(f.path, f, now-f.progress, "subflow stale")
	}
}

// surrender has what a subflow holds go again.
func (e *Engine) surrender(f *Subflow) {
	if f.epoch == e.epoch { // else the numbers mean nothing now
		e.held.surrender(f)
	}
}

// recover takes a subflow back into use that shows progress.
func (e *Engine) recover(f *Subflow, now int64) {
	replaced := f.state.Replaced()
	if !f.state.on(progress) {
		return // the peer itself has to answer
	}
	f.overslept = false
	if replaced || f.withdrawn {
		f.withdrawn = false
		f.path.arrange()
	}
	e.rescue()
	e.say(f.path, f, now-f.staleAt, "subflow moves again")
}

// rescue is for a subflow that is there again, or new: while all were stale, stale
// ones were given something as well, and it may be the first that moves.
func (e *Engine) rescue() {
	for _, f := range e.subs {
		if f.state.Stale() {
			e.surrender(f)
		}
	}
}

// judge finds a path dark when one of its subflows stalled and none has shown a sign
// of life since: those with nothing outstanding would otherwise look well. They are
// asked at once.
func (e *Engine) judge(p *Path, now int64) {
	if p.heard >= p.doubted {
		p.doubted = 0
	}
	silent := p.doubted != 0 && now-p.doubted > darkAfter+2*max(p.srtt, p.rtt)
	dark := silent || p.stalled > p.proof && now-p.proof > silence(e, p)
	if silent { // who acknowledges for the peer does so on all of them
		disown(e, p, now)
	}
	if dark && p.state == PathUp {
		e.grace.begin(now)
		e.say(p, nil, 0, "path is dark")
		for _, f := range p.subs {
			if f.marks.una < f.marks.tail && f.state != Ended {
				e.stall(f, now, overdue)
			}
			f.ping(now)
		}
		need(e, p, now)
	}
	p.state.dark(dark)
	if gone := p.state == PathDark || len(p.subs) == 0; gone && p.movedAt > p.toldAt && (p.toldAt == 0 || p.movedAt > p.toldAt+toldAgain) {
		p.toldAt = p.movedAt
		e.say(p, nil, p.moved, FlowsMoved)
	}
}

// need has paths that are to rest asked, as that one has died and they are the last: by the next of
// their keep-alives alone it would be known late that they have died as well.
func need(e *Engine, died *Path, now int64) {
	for _, p := range e.paths {
		if p != died && p.state == PathUp && !p.spare() {
			return
		}
	}
	for _, p := range e.paths {
		if f := p.warm(); p != died && p.state == PathUp && f != nil {
			f.ping(now)
		}
	}
}

// wakeDelay has every path asked when a session begins to send after a rest.
func (e *Engine) wakeDelay(now int64) {
	if e.octets == e.octetsSeen || !e.stirred.lately(now) {
		return
	}
	rested := now-e.activeAt > gauge.DelayOld
	e.octetsSeen, e.activeAt = e.octets, now
	for _, p := range e.paths {
		if rested && now-p.delay.Heard > gauge.DelayOld {
			p.delay.Quick = gauge.DelayLeast
		}
	}
}

// estimate keeps the paths' rates and paces, the CoDel target and the resequencing
// deadline.
func (e *Engine) estimate(now int64) {
	fast, slow, jitter := int64(1<<62), int64(0), int64(0)
	near, far := int64(1<<62), int64(0) // empty ways
	e.farEnough = false
	for _, f := range e.subs {
		if !f.tx.valid || f.state.Stale() {
			continue
		}
		e.farEnough = e.farEnough || f.tx.minRTT > sched.CopyMinRTT
		fast, slow = min(fast, f.tx.srtt/2), max(slow, f.tx.srtt/2)
		jitter = max(jitter, f.tx.rttvar)
		near, far = min(near, f.tx.minRTT/2), max(far, f.tx.minRTT/2)
	}
	e.wakeDelay(now)
	for _, p := range e.paths {
		if e.farEnough || p.delay.Count < gauge.DelayLeast {
			p.askDelay(e, now)
		}
		if passed, window := now-p.ackedT, p.window(now); passed >= window {
			p.estimate(e, now, passed, passed < window+overslept)
		} else if p.paced > 0 && p.steered != p.delay.Count {
			p.steer(e, now)
		} else if p.paced > 0 && p.given > 0 {
			if n := p.sharing(now); n > p.sharers {
				p.busy = n
				p.pace(e, p.paced)
			}
		}
	}
	if slow == 0 {
		return
	}
	// What waits for a nearer path does so for what a farther one takes when it is empty. With the
	// queue that a start leaves in it, CoDel would let the backlog of that start stand as well.
	e.table.queue.Target = fq.CoDelTarget + (far-near)*3/2
	// A gap is waited for as long as paths differ, and a round trip more: TCP brings what it lost
	// after one, and a program that answers to loss sends less for long where the gap is given up.
	spread := slow - fast
	e.holdBound = min(spread+2*slow+4*jitter+5e6, 200e6)
}
