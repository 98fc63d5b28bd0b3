package engine

import (
	"github.com/mpsocks/mpsocks/mux/gauge"
	"github.com/mpsocks/mpsocks/mux/sched"
)

// candidate says what its subflows have in common.
func (p *Path) candidate(now int64) sched.Candidate {
	m := &p.delay
	c := sched.Candidate{
		Path: p.index, RTT: p.rtt, Extra: max(p.extra, m.Overdue(now, p.rtt)), Back: m.Returning(now), Queue: -1,
		Rate: p.rate, Seen: p.seen, Proven: p.proven,
		Lossy: p.judge.Lossy, Stray: !p.seen && gauge.LostLately(p.judge.Stray, now), Frail: gauge.LostLately(p.lossAt, now),
		Flight: p.flight, Share: p.share, Weight: p.cfg.Weight, Metered: p.cfg.Metered, Stale: p.state == PathDark, Closed: p.state >= PathFull,
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
