package mux

import (
	"github.com/mpsocks/mpsocks/mux/gauge"
	"github.com/mpsocks/mpsocks/mux/sched"
)

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
		c.Stale = c.Stale || f.stale
		c.Queued, c.Own = f.pendingSize, f.tx.outstanding+f.pendingSize
		c.Bulk, c.Backup = f.bulk, f.backup
		if f.bulk && c.Own > recordSize {
			c.Ahead = lowatTime
		}
		c.Open = c.Own < f.window(p == lead)
		burst := min(max(f.tx.lowat, minLowat), burstSize)
		if f.blocked {
			c.Queued += burst
		} else {
			c.Room = burst - f.pendingSize
		}
		if age := f.age(now); s.farEnough && f.overdue(age) {
			c.Suspect, c.Doubt = true, f.stallTime()
		}
		s.cands = append(s.cands, c)
		s.candSub = append(s.candSub, f)
	}
}

// candidate says what its subflows have in common.
func (p *path) candidate(now int64) sched.Candidate {
	m := &p.delay
	c := sched.Candidate{
		Path: p.index, RTT: p.rtt, Extra: max(p.extra, m.Overdue(now, p.rtt)), Back: m.Returning(now), Queue: -1,
		Rate: p.rate, Seen: p.seen, Proven: p.proven,
		Lossy: p.judge.Lossy, Stray: !p.seen && gauge.LostLately(p.judge.Stray, now), Frail: gauge.LostLately(p.lossAt, now),
		Flight: p.flight, Share: p.share, Weight: p.cfg.Weight, Metered: p.cfg.Metered, Stale: p.dark, Closed: p.gone || p.capped,
	}
	if m.Fresh(now) {
		if p.carriesBulk(now) {
			c.Queue = m.Last()
		}
		if p.seen {
			c.Swing = m.Lately()
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
		if f.sentRing.una != f.sentRing.tail && now-f.refreshed > flightFresh && f.tx.minRTT > sched.CopyMinRTT {
			f.refresh(now)
		}
		f.path.flight += f.tx.outstanding
	}
}

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
	return min(f.tx.cwnd, max(sched.StartBytes, int(sched.StartGrowth*f.tx.rate*float64(f.path.rtt))))
}
