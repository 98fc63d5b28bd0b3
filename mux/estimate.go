package mux

import (
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/gauge"
	"github.com/mpsocks/mpsocks/mux/sched"
)

// A path's throughput is measured over a round trip, within these bounds: TCP
// may send what it may send in a burst.
const (
	rateWindow     = 100e6
	rateWindowMost = 600e6
	startWindow    = 20e6  // the least, while TCP finds its window
	overslept      = 100e6 // later than this, more than the path was in the way
)

// provenFade is what a measurement leaves of what an earlier one has proven.
const provenFade = 0.95

// shareMemory is how long, in ns, what a path was given counts for its weight.
const shareMemory = 2e9

// fullShare is the share of time that a full path's subflows, added up, are
// blocked at least.
const fullShare = 0.3

// estimate keeps the paths' rates and paces, the CoDel target and the
// resequencing deadline.
func (s *Session) estimate(now int64) {
	fast, slow, jitter := int64(1<<62), int64(0), int64(0)
	s.farEnough = false
	for _, f := range s.subs {
		if !f.tx.valid || f.stale {
			continue
		}
		s.farEnough = s.farEnough || f.tx.minRTT > sched.CopyMinRTT
		fast, slow = min(fast, f.tx.srtt/2), max(slow, f.tx.srtt/2)
		jitter = max(jitter, f.tx.rttvar)
	}
	s.wakeDelay(now)
	for _, p := range s.paths {
		if s.farEnough {
			s.askDelay(p, now)
		}
		if passed, window := now-p.ackedT, p.window(now); passed >= window {
			s.estimatePath(p, now, passed, passed < window+overslept)
		} else if p.paced > 0 && p.steered != p.delay.Count {
			s.steer(p, now)
		}
	}
	if slow == 0 {
		return
	}
	spread := slow - fast
	s.queue.Target = fq.CoDelTarget + spread*3/2
	s.holdBound = min(spread+2*jitter+5e6, 200e6)
}

// window is how long the path is measured for one answer: while TCP finds its
// window, which doubles in a round trip, no longer than that.
func (p *path) window(now int64) int64 {
	least := int64(rateWindow)
	if (p.stuck > 0 || p.carriesBulk(now)) && p.pacer.Known(now) == 0 {
		least = startWindow
	}
	return min(max(least, p.rtt), rateWindowMost)
}

// estimatePath measures what a path delivered and paces it. What is not timely
// says little: the path was at rest, or this program.
func (s *Session) estimatePath(p *path, now, passed int64, timely bool) {
	acked, small := uint64(0), uint64(0)
	for _, f := range s.subs {
		if f.path != p {
			continue
		}
		if f.blocked {
			f.unstick(now)
		}
		f.refresh(now)
		got := f.acked + f.beyond()
		if got <= f.counted {
			continue
		}
		if f.bulk {
			acked += got - f.counted
		} else {
			small += got - f.counted
		}
		f.counted = got
	}
	p.fade(passed)
	through := float64(acked) / float64(p.there(passed))
	if timely {
		p.proven = max(through, p.proven*provenFade)
	}
	// A burst blocks a subflow for a moment; a full path keeps it blocked.
	p.full = float64(p.stuck) > fullShare*float64(passed)
	segs, resent := p.segs, p.resent
	if p.full || acked > 64<<10 {
		p.bulkAt = now
	}
	p.ackedT, p.stuck, p.segs, p.resent = now, 0, 0, 0
	window, flight := s.survey(p, now)

	queue, known := p.delay.Queue(p.rtt, p.starting(now))
	swell := p.swell(now)
	if swell > 0 {
		queue, known = max(queue, swell), true
	}
	if known && timely && acked > small { // else it says nothing about what bulk can have
		p.pacer.Learn(now, queue, through, swell > 0, p.full)
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
		s.pace(p, 0)
		s.rest(p, now)
	}
	if p.busy == 0 || p.rtt < sched.CopyMinRTT || !known {
		return // nothing to pace, or no queue to speak of
	}
	if resent > 0 {
		p.judge.Lost(now, p.delay.Peak())
	}
	cc := ccSmooth
	lossy, yields := p.judge.Note(now, queue, segs, resent), p.judge.Yields(now, queue, through, p.paced, p.full)
	if lossy || yields || !p.seen {
		cc = ccLossy
	}
	for _, f := range s.subs {
		if f.path == p && !f.closed {
			f.congest(cc, now)
		}
	}
	s.steer(p, now)
}

// fade forgets what the path was given.
func (p *path) fade(passed int64) { p.share *= 1 - min(float64(passed)/shareMemory, 1) }

// survey notes the path's round trips and how many subflows carry bulk. It
// returns the rate that their windows allow, and what they have in flight.
func (s *Session) survey(p *path, now int64) (window float64, flight int) {
	least := gauge.NoDelay
	p.busy, p.srtt, p.least = 0, 0, gauge.NoDelay
	active := false
	for _, f := range s.subs {
		if f.path != p || !f.tx.valid || f.stale {
			continue
		}
		least = min(least, f.tx.minRTT)
		if !f.bulk {
			continue
		}
		window += float64(f.tx.cwnd) / float64(max(f.tx.srtt, 1))
		flight += f.tx.outstanding
		if now-f.lastSend < 200e6 {
			active = true
			p.srtt, p.least = max(p.srtt, f.tx.srtt), min(p.least, f.tx.srtt)
		}
		if f.carriesBulk(now) {
			p.busy++
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
func (p *path) starting(now int64) bool {
	return p.pacer.Known(now) == 0 || p.pacer.Young(now)
}

// swell returns the queue, in ns, that TCP's own round trips show while nothing is
// known of the path, if that leaves no doubt: what was acknowledged has met it.
// A probe meets one a round trip before.
func (p *path) swell(now int64) int64 {
	if p.busy == 0 || p.pacer.Known(now) != 0 || !p.delay.Fresh(now) || p.delay.Last() <= gauge.PaceBusy {
		return 0
	}
	if queue := p.least - p.rtt - p.delay.Returning(now) - 2*p.delay.Jitter; queue > gauge.PaceSure {
		return queue
	}
	return 0
}

// bulkMemory is how long a subflow counts as carrying bulk after it got some.
const bulkMemory = 1e9

func (f *subflow) carriesBulk(now int64) bool { return f.bulkAt != 0 && now-f.bulkAt < bulkMemory }

// rest prepares the subflows of a path without bulk for what comes next.
func (s *Session) rest(p *path, now int64) {
	for _, f := range s.subs {
		if f.path == p && !f.closed && (f.cc != ccRest || f.lastSend > f.ccAt) {
			f.congest(ccRest, now)
		}
	}
}

// steer sets the pace, after every measurement and every answer about delay.
func (s *Session) steer(p *path, now int64) {
	p.steered = p.delay.Count
	stands, known := p.delay.Stands(p.rtt, p.starting(now))
	if !known || p.busy == 0 {
		return
	}
	pace := p.pacer.Update(now, p.delay.Beyond(stands), stands, p.srtt, p.full)
	s.pace(p, pace)
	if p.seen {
		p.rate = p.pacer.Offers(now)
	}
}

// pace tells the bulk subflows of a path how fast they may send together; 0
// lifts the bound.
func (s *Session) pace(p *path, rate float64) {
	if rate <= p.paced*1.005 && rate >= p.paced*0.995 {
		return
	}
	p.paced = rate
	for _, f := range s.subs {
		if f.path == p && f.bulk && !f.closed {
			f.carrier.setPace(rate / float64(max(p.busy, 1)))
		}
	}
}

// there returns in what time the peer got what was acknowledged in the time
// that passed: what fills the way back delays the acknowledgements, and makes
// this direction no slower.
func (p *path) there(passed int64) int64 {
	before := p.late
	p.late = p.delay.Late()
	if before == 0 || p.late == 0 {
		return passed
	}
	return min(max(passed-(p.late-before), passed/2), passed*2)
}

// beyond returns the bytes that arrived behind a gap: a lost packet holds back
// the acknowledgement of a whole window. The kernel is asked anew, as what
// measure read may be older than the acknowledgements beside it.
func (f *subflow) beyond() uint64 {
	var i tcpInfo
	if f.closed || f.tx.outstanding == 0 || !f.carrier.info(&i) {
		return 0
	}
	return i.sacked
}

// unstick counts the time that f was blocked.
func (f *subflow) unstick(now int64) {
	if f.bulk && f.blockedAt != 0 {
		f.path.stuck += now - f.blockedAt
	}
	f.blockedAt = now
}
