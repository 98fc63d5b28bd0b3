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

// window returns how many bytes may be under way on a subflow before it is seen
// what its path carries.
func (f *Subflow) window(lead bool) int {
	if lead {
		return f.tx.cwnd
	}
	return min(f.tx.cwnd, max(sched.StartBytes, int(sched.StartGrowth*f.tx.rate*float64(f.path.rtt))))
}
