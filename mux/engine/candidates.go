package engine

import (
	"math"

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

// A path that was never full is given only so much by flows that want order: what stands in its
// queue holds all of such a flow up, a QUIC sender takes that for a full path, and leaves slow
// start. Subflows of TCP alone, ten segments each and copies among them, are a tenth of a second
// of a thin path.
const (
	// startRate is what it is tried with before it has shown anything, in bytes a nanosecond:
	// TCP's first ten segments in 10 ms.
	startRate = sched.StartBytes / 10e6
	// startTimes is how many times what it has shown it is tried with. One whose round trip is longer
	// by startApart ns, and that has not shown a startPart-th of what the nearer one brings, is tried
	// with startMore bytes more: a queue there costs the nearer one's share, and wins little.
	startTimes = 2
	startApart = 4e6
	startPart  = 6
	startMore  = 4 * 1448
)

// leeway is how many bytes a flow that wants order may still give the path. The one that brings
// most is bound by TCP alone.
func (p *Path) leeway(lead *Path) int {
	if p == lead || p.seen {
		return math.MaxInt
	}
	most := p.proven * float64(p.rtt)
	if p.rtt > lead.rtt+startApart && p.proven*startPart <= lead.proven {
		most += startMore
	} else {
		most *= startTimes
	}
	most = max(most, startRate*float64(p.rtt), sched.StartBytes)
	for _, f := range p.subs {
		most -= float64(f.pendingSize)
	}
	return int(most) - p.flight
}
