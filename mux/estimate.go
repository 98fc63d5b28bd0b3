package mux

// A path's throughput is measured over a round trip, within these bounds: TCP
// may send what it may send in a burst.
const (
	rateWindow     = 100e6
	rateWindowMost = 600e6
	startWindow    = 20e6
)

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
		s.farEnough = s.farEnough || f.tx.minRTT > copyMinRTT
		fast, slow = min(fast, f.tx.srtt/2), max(slow, f.tx.srtt/2)
		jitter = max(jitter, f.tx.rttvar)
	}
	for _, p := range s.paths {
		if s.farEnough {
			s.askDelay(p, now)
		}
		if passed := now - p.ackedT; passed >= p.window(now) {
			s.estimatePath(p, now, passed)
		}
	}
	if slow == 0 {
		return
	}
	spread := slow - fast
	s.queue.target = codelTarget + spread*3/2
	s.holdBound = min(spread+2*jitter+5e6, 200e6)
}

// window is how long the path is measured for one answer: while TCP finds its
// window, which doubles in a round trip, no longer than that.
func (p *path) window(now int64) int64 {
	least := int64(rateWindow)
	if p.stuck > 0 && p.pacer.known(now) == 0 {
		least = startWindow
	}
	return min(max(least, p.rtt), rateWindowMost)
}

// estimatePath measures what a path delivered and paces it.
func (s *Session) estimatePath(p *path, now, passed int64) {
	acked := uint64(0)
	for _, f := range s.subs {
		if f.path != p || !f.bulk {
			continue
		}
		if f.blocked {
			f.unstick(now)
		}
		f.refresh(now)
		if got := f.acked + f.beyond(); got > f.counted {
			acked += got - f.counted
			f.counted = got
		}
	}
	through := float64(acked) / float64(p.there(passed))
	// A burst blocks a subflow for a moment; a full path keeps it blocked.
	full := float64(p.stuck) > fullShare*float64(passed)
	segs, resent := p.segs, p.resent
	if full || acked > 64<<10 {
		p.bulkAt = now
	}
	p.ackedT, p.stuck, p.segs, p.resent = now, 0, 0, 0
	initial, busy, flight := 0.0, 0, 0
	minRTT, srtt := int64(1<<62), int64(0)
	for _, f := range s.subs {
		if f.path != p || !f.tx.valid || f.stale {
			continue
		}
		minRTT = min(minRTT, f.tx.minRTT)
		if !f.bulk {
			continue
		}
		initial += float64(f.tx.cwnd) / float64(max(f.tx.srtt, 1))
		flight += f.tx.outstanding
		if now-f.lastSend < 200e6 {
			busy++
			srtt = max(srtt, f.tx.srtt)
		}
	}
	if minRTT < noDelay {
		p.rtt = minRTT
	}
	queue, known := p.delay.queue(p.rtt, p.pacer.known(now) == 0)
	if known {
		p.pacer.learn(now, queue, through, full)
	}
	// What it can carry, if it was full lately; else as much as TCP would send.
	p.rate = p.pacer.known(now)
	if p.seen = p.rate > 0; !p.seen {
		p.rate = max(initial, through)
	}
	own := int64(0) // queue that our own bytes explain
	if p.rate > 0 {
		own = max(int64(float64(flight)/p.rate)-p.rtt, 0)
	}
	p.extra = 0
	if known && now-p.bulkAt < 1e9 {
		p.extra = max(queue-own-paceTarget, 0)
	}
	if busy == 0 {
		s.pace(p, 0, 0)
	}
	if busy == 0 || minRTT < copyMinRTT || !known {
		return // nothing to pace, or no queue to speak of
	}
	cc := ccSmooth
	if p.judge.note(now, queue, segs, resent) {
		cc = ccLossy
	}
	for _, f := range s.subs {
		if f.path == p && f.cc != cc && !f.closed {
			f.cc = cc
			f.carrier.setCongestion(cc)
		}
	}
	pace := p.pacer.update(now, queue, srtt, full)
	s.pace(p, pace, busy)
}

// pace tells the bulk subflows of a path how fast they may send together; 0
// lifts the bound.
func (s *Session) pace(p *path, rate float64, busy int) {
	if rate <= p.paced*1.02 && rate >= p.paced*0.98 {
		return
	}
	p.paced = rate
	for _, f := range s.subs {
		if f.path == p && f.bulk && !f.closed {
			f.carrier.setPace(rate / float64(max(busy, 1)))
		}
	}
}

// there returns in what time the peer got what was acknowledged in the time
// that passed: what fills the way back delays the acknowledgements, and makes
// this direction no slower.
func (p *path) there(passed int64) int64 {
	before := p.late
	p.late = p.delay.late()
	if before == 0 || p.late == 0 {
		return passed
	}
	return min(max(passed-(p.late-before), passed/2), passed*2)
}

// beyond returns the bytes that arrived behind a gap: a lost packet holds back
// the acknowledgement of a whole window.
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
