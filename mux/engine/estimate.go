package engine

import (
	"github.com/mpsocks/mpsocks/mux/gauge"
	"github.com/mpsocks/mpsocks/mux/sched"
)

// A path's throughput is measured over a round trip, within rateWindow and
// rateWindowMost, ns: TCP may send what it may send in a burst, so that less than a round
// trip says nothing, and more than the longest of a satellite comes too late.
const (
	rateWindow     = 100e6
	rateWindowMost = 600e6
	startWindow    = 20e6  // the least, while TCP finds its window
	overslept      = 100e6 // later than this, more than the path was in the way
)

// lateAnswer is how much longer a queue, ns, or at least a round trip, cannot be than the one
// that what was acknowledged lately has met.
const lateAnswer = 100e6

// provenFade is what a rateWindow takes of what an earlier measurement has proven.
const provenFade = 0.05

// besideMemory is how long, in ns, what small flows took of a path counts.
const besideMemory = 300e6

// bulkLeast is the share of the pace that bulk has whatever small flows take.
const bulkLeast = 0.25

// shareMemory is how long, in ns, what a path was given counts for its weight.
const shareMemory = 2e9

const (
	// paceMemory is how long, in ns, a subflow that got bulk has a share of its path's pace. What
	// wants order has one subflow, but may have had another while TCP found its window.
	paceMemory = 200e6
	// paceSlow is the pace, bytes a nanosecond, below which what a subflow is given at once may last
	// for longer than that.
	paceSlow = 4 * MinLowat / paceMemory
)

// shares says that a subflow has a share of the pace.
func (p *Path) shares(f *Subflow, now int64) bool {
	if f.blocked || p.paced < paceSlow {
		return f.blocked || f.carriesBulk(now)
	}
	return f.bulkAt != 0 && now-f.bulkAt < paceMemory
}

// sharing is how many have one now. One more than were told sends at a share of its own beside theirs
// until it is noticed: that is at the next tick, and not only when the path is measured.
func (p *Path) sharing(now int64) (n int) {
	for _, f := range p.subs {
		if f.bulk && f.tx.valid && !f.state.Stale() && p.shares(f, now) {
			n++
		}
	}
	return n
}

// fullShare is the share of time that a full path's subflows, added up, are
// blocked at least.
const fullShare = 0.3

// window is how long the path is measured for one answer: while TCP finds its
// window, which doubles in a round trip, no longer than that.
func (p *Path) window(now int64) int64 {
	least := int64(rateWindow)
	if (p.stuck > 0 || p.carriesBulk(now) || p.ordered != 0 && now-p.ordered < bulkMemory) && p.pacer.Known(now) == 0 {
		least = startWindow
	}
	return min(max(least, p.rtt), rateWindowMost)
}

// estimate measures what a path delivered and paces it. What is not timely
// says little: the path was at rest, or this program.
func (p *Path) estimate(e *Engine, now, passed int64, timely bool) {
	acked, small := uint64(0), uint64(0)
	for _, f := range p.subs {
		if f.blocked {
			f.unstick(now)
		}
		got := f.acked + f.beyond()
		if got <= f.counted {
			continue
		}
		if f.bulk || f.carriesBulk(now) {
			acked += got - f.counted
		} else {
			small += got - f.counted
		}
		f.counted = got
	}
	p.fade(passed)
	there := float64(p.there(passed))
	through, beside := float64(acked)/there, float64(small)/there
	if through+beside < paceSlow { // it comes in lumps, and takes longer than a measurement
		beside = 0
	}
	p.beside += (beside - p.beside) * min(float64(passed)/besideMemory, 1)
	if timely {
		p.proven = max(through, p.proven*(1-provenFade*min(float64(passed)/rateWindow, 1)))
	}
	// A burst blocks a subflow for a moment; a full path keeps it blocked.
	p.full = float64(p.stuck) > fullShare*float64(passed)
	segs, resent := p.segs, p.resent
	if p.full || acked > 64<<10 {
		p.bulkAt = now
	}
	p.ackedT, p.stuck, p.segs, p.resent = now, 0, 0, 0
	window, flight := p.survey(now)
	if resent > 0 {
		p.pacer.Lost(now)
	}

	stands, known := p.stands(now)
	queue := p.delay.Beyond(stands)
	swell := p.swell(now)
	if swell > 0 {
		queue, known = max(queue, swell), true
	}
	if known && timely && acked > small { // else it says nothing about what bulk can have
		p.pacer.Learn(now, queue, passed+p.srtt, through+beside, swell > 0, p.full)
	}
	// What it can carry, if it was full lately; else as much as TCP would send.
	p.rate = p.pacer.Known(now)
	if p.seen = p.rate > 0; !p.seen {
		p.rate = max(window, through)
	}
	own := int64(0) // queue that our own bytes explain
	if p.rate > 0 {
		own = max(int64(float64(flight)/p.rate)-p.rtt, 0)
	}
	switch {
	case !p.carriesBulk(now):
		p.extra = p.delay.Beside(now)
	case known:
		p.extra = max(queue-own-gauge.PaceTarget, 0)
	default:
		p.extra = 0
	}
	if p.busy == 0 {
		p.pace(e, 0)
		p.rest(e, now)
	}
	if p.busy == 0 || p.rtt < sched.CopyMinRTT || !known {
		return // nothing to pace, or no queue to speak of
	}
	if resent > 0 {
		p.judge.Lost(now, p.delay.Peak())
	}
	cc := ccSmooth
	lossy, yields := p.judge.Note(now, queue, segs, resent), p.judge.Yields(now, queue, through+p.beside, p.paced, p.full)
	if lossy || yields || !p.seen {
		cc = ccLossy
	}
	for _, f := range p.subs {
		f.congest(e, cc, now)
	}
	p.steer(e, now)
}

// survey notes the path's round trips and how many subflows carry bulk. It
// returns the rate that their windows allow, and what they have in flight.
func (p *Path) survey(now int64) (window float64, flight int) {
	least := gauge.NoDelay
	p.busy, p.srtt, p.least = p.sharing(now), 0, gauge.NoDelay
	active := false
	for _, f := range p.subs {
		if !f.tx.valid || f.state.Stale() {
			continue
		}
		least = min(least, f.tx.minRTT)
		flight += f.tx.outstanding
		if !f.bulk {
			continue
		}
		window += float64(f.tx.cwnd) / float64(max(f.tx.srtt, 1))
		// One that is blocked is in use, however long nothing could be written to it.
		if f.blocked || now-f.lastSend < 200e6 {
			active = true
			p.srtt, p.least = max(p.srtt, f.tx.srtt), min(p.least, f.tx.srtt)
		}
	}
	if !active {
		p.busy = 0
	}
	if least < gauge.NoDelay {
		p.rtt = least
	}
	return window, flight
}

// starting says that TCP still finds its window there, or just has.
func (p *Path) starting(now int64) bool {
	return p.pacer.Known(now) == 0 || p.pacer.Young(now)
}

// swell returns the queue, in ns, that TCP's own round trips show while nothing is
// known of the path, if that leaves no doubt: what was acknowledged has met it.
// A probe meets one a round trip before.
func (p *Path) swell(now int64) int64 {
	if p.busy == 0 || p.pacer.Known(now) != 0 || !p.delay.Fresh(now) || p.delay.Last() <= gauge.PaceBusy {
		return 0
	}
	if queue := p.least - p.rtt - p.delay.Returning(now) - 2*p.delay.Jitter; queue > gauge.PaceSure {
		return queue
	}
	return 0
}

// stands returns the standing queue of the path in ns, and whether anything lately told of
// it: the questions about delay, or, where bulk is in the way of all of them, TCP's own
// round trips.
func (p *Path) stands(now int64) (int64, bool) {
	if p.delay.Tells(now, p.rtt) {
		stands, known := p.delay.Stands(p.rtt, p.starting(now))
		if met := p.least - p.rtt; p.busy > 0 && met >= 0 && stands > met+max(p.rtt, lateAnswer) {
			stands = met // the answers waited for something lost
		}
		return stands, known
	}
	if p.busy == 0 || p.least == gauge.NoDelay {
		return 0, false
	}
	return max(p.least-p.rtt-p.delay.Returning(now), 0), true
}

// steer sets the pace, after every measurement and every answer about delay.
func (p *Path) steer(e *Engine, now int64) {
	p.steered = p.delay.Count
	stands, known := p.stands(now)
	if !known || p.busy == 0 {
		return
	}
	pace := p.pacer.Update(now, p.delay.Beyond(stands), stands, p.srtt, p.full)
	p.pace(e, pace)
	if p.seen {
		p.rate = p.pacer.Offers(now)
	}
}

// there returns in what time the peer got what was acknowledged in the time
// that passed: what fills the way back delays the acknowledgements, and makes
// this direction no slower.
func (p *Path) there(passed int64) int64 {
	before := p.late
	p.late = p.delay.Late()
	if before == 0 || p.late == 0 {
		return passed
	}
	return min(max(passed-(p.late-before), passed/2), passed*2)
}

// rest prepares the subflows of a path without bulk for what comes next.
func (p *Path) rest(e *Engine, now int64) {
	if p.rtt < nearRTT { // or not known yet
		return
	}
	for _, f := range p.subs {
		if f.ccAsked != ccRest || f.lastSend > f.ccAt {
			f.congest(e, ccRest, now)
		}
	}
}

// pace tells the bulk subflows of a path how fast they may send together; 0
// lifts the bound.
func (p *Path) pace(e *Engine, rate float64) {
	p.paced = rate
	bulk := max(rate-p.beside, rate*bulkLeast)
	if bulk <= p.given*1.005 && bulk >= p.given*0.995 && (p.sharers == p.busy || rate < paceSlow) {
		return
	}
	p.given, p.sharers = bulk, p.busy
	for _, f := range p.subs {
		if f.bulk && f.state != Ended {
			e.orders.Tune = append(e.orders.Tune, Tuning{Sub: f, What: TunePace, Rate: bulk / float64(max(p.busy, 1))})
		}
	}
}
