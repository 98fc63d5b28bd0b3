package mux

// A path that carries bulk is paced, so that the queue at its bottleneck stays
// short: what waits in the network can choose no path any more, and delays the
// small flows beside it. TCP's own congestion control fills that queue (CUBIC)
// or keeps a round trip's worth in it and stops for 200 ms to look below it
// (BBR).
//
// The pacer is pure: it is told what was measured and answers with a rate. It
// aims at a small standing delay (delay.go). Beside
// a competitor that fills the queue anyway it would be driven out, so it lets
// go when the delay stays although it has yielded.
type pacer struct {
	rate    float64 // bytes a nanosecond; 0 = not paced
	through float64 // delivered, smoothed
	best    float64 // most of it lately
	bestAt  int64
	next    int64 // when to decide again
	free    int64 // not paced before
	calm    int   // decisions in a row that found no queue
}

const (
	paceTarget = 4e6 // ns of standing queue: enough to keep the path busy
	paceDrain  = 200e6
	paceYield  = 0.5 // below this share of the best rate somebody else has the rest
	paceFree   = 4e9 // how long it then competes
	paceMemory = 10e9
)

// update takes one measurement: what was delivered (bytes a nanosecond) and
// whether the path had more to carry than it took.
func (p *pacer) update(now, queue, srtt int64, through float64, limited bool) float64 {
	if p.through == 0 {
		p.through = through
	}
	p.through += (through - p.through) / 3
	if p.through > p.best || now-p.bestAt > paceMemory {
		p.best, p.bestAt = p.through, now
	}
	if !limited || now < p.free || through <= 0 {
		p.rate = 0
		return 0
	}
	if now < p.next {
		return p.rate
	}
	p.next = now + srtt
	excess := float64(queue - paceTarget)
	switch {
	case excess > 0: // what stands in the queue leaves within a few decisions
		p.calm = 0
		p.rate = p.through * (1 - min(excess/paceDrain, 0.15))
		if p.rate < paceYield*p.best {
			p.rate, p.free = 0, now+paceFree
			p.best, p.bestAt = p.through, now
		}
	case p.rate > 0: // a little more, and the more the longer there is room
		p.rate = max(p.rate, p.through) * (1 + min(0.01*float64(int(1)<<p.calm), 0.5))
		p.calm = min(p.calm+1, 8)
	}
	return p.rate
}

// Congestion control. CUBIC under the pacer neither fills the queue nor stops;
// but random loss drives it out, and there BBR is right.
const (
	ccSmooth = "cubic"
	ccLossy  = "bbr"

	lossyShare   = 0.002 // retransmitted share above which a path without a queue is lossy
	lossySegs    = 500   // segments it is judged over
	lossyForget  = 60e9
	lossyNoQueue = 15e6 // ns: loss with more delay than this is congestion
)

// A lossJudge finds out whether a path loses packets without being full.
type lossJudge struct {
	segs, retrans uint64
	lossy         bool
	until         int64
}

// note takes what was sent and retransmitted since the last call.
func (l *lossJudge) note(now, queue int64, segs, retrans uint64) bool {
	if queue > lossyNoQueue {
		l.segs, l.retrans = 0, 0
	} else {
		l.segs += segs
		l.retrans += retrans
	}
	if l.segs >= lossySegs {
		if float64(l.retrans) > lossyShare*float64(l.segs) {
			l.lossy, l.until = true, now+lossyForget
		}
		l.segs, l.retrans = 0, 0
	}
	if l.lossy && now > l.until {
		l.lossy = false
	}
	return l.lossy
}
