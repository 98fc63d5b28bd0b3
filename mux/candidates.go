package mux

// flightFresh is how old the count of bytes in a path may be for a decision.
const flightFresh = 1e6

// fillCandidates lists the subflows as the scheduler sees them.
func (s *Session) fillCandidates(now int64) {
	s.cands, s.candSub = s.cands[:0], s.candSub[:0]
	if s.farEnough {
		s.countFlight(now)
	}
	s.views++
	lead := s.lead()
	for _, f := range s.subs {
		if f.closed {
			continue
		}
		p := f.path
		if p.viewed != s.views { // once for all of its subflows
			p.viewed, p.view = s.views, p.candidate(now)
		}
		c := p.view
		c.stale = c.stale || f.stale
		c.queued, c.own = f.pendingSize, f.tx.outstanding+f.pendingSize
		c.bulk, c.backup = f.bulk, f.backup
		if f.bulk && c.own > recordSize {
			c.ahead = lowatTime
		}
		c.open = c.own < f.window(p == lead)
		burst := min(max(f.tx.lowat, minLowat), burstSize)
		if f.blocked {
			c.queued += burst
		} else {
			c.room = burst - f.pendingSize
		}
		if age := f.age(now); s.farEnough && f.overdue(age) {
			c.suspect, c.doubt = true, f.stallTime()
		}
		s.cands = append(s.cands, c)
		s.candSub = append(s.candSub, f)
	}
}

// candidate says what its subflows have in common.
func (p *path) candidate(now int64) candidate {
	m := &p.delay
	c := candidate{
		path: p.index, rtt: p.rtt, extra: max(p.extra, m.overdue(now, p.rtt)), back: m.returning(now), queue: -1,
		rate: p.rate, seen: p.seen, proven: p.proven,
		lossy: p.judge.lossy, stray: !p.seen && lostLately(p.judge.stray, now), frail: lostLately(p.lossAt, now),
		flight: p.flight, share: p.share, weight: p.cfg.Weight, metered: p.cfg.Metered, stale: p.dark, closed: p.gone || p.capped,
	}
	if m.fresh(now) {
		if p.carriesBulk(now) {
			c.queue = m.last()
		}
		if p.seen {
			c.swing = m.lately()
		}
	}
	return c
}

// countFlight adds up what the paths hold. The kernel is asked at most once a
// millisecond and subflow.
func (s *Session) countFlight(now int64) {
	for _, p := range s.paths {
		p.flight = 0
	}
	for _, f := range s.subs {
		if f.closed || f.stale {
			continue
		}
		if f.sentRing.una != f.sentRing.tail && now-f.refreshed > flightFresh && f.tx.minRTT > copyMinRTT {
			f.refresh(now)
		}
		f.path.flight += f.tx.outstanding
	}
}

const (
	// startBytes is what TCP may send at first (RFC 6928).
	startBytes = 10 * 1448
	// startGrowth is by how much a path that was never full is tried with more
	// than it has shown, each round trip, by flows that want order: what overshoots
	// there holds all of the flow up.
	startGrowth = 1.5
)

// lead returns the path that has lately brought most.
func (s *Session) lead() (lead *path) {
	for _, p := range s.paths {
		if lead == nil || p.proven > lead.proven {
			lead = p
		}
	}
	return lead
}

// window returns how many bytes may be under way on a subflow before it is seen
// what its path carries.
func (f *subflow) window(lead bool) int {
	if lead {
		return f.tx.cwnd
	}
	return min(f.tx.cwnd, max(startBytes, int(startGrowth*f.tx.rate*float64(f.path.rtt))))
}
