package gauge

// A path that carries bulk is paced, so that the queue at its bottleneck stays
// short: what waits in the network can choose no path any more, and delays the
// small flows beside it. TCP's own congestion control fills that queue (CUBIC)
// or keeps a round trip's worth in it and stops for 200 ms to look below it
// (BBR).
//
// The pacer is pure: it is told what was measured and answers with a rate. It
// learns what the path carries while a queue stands there, and from then on
// aims at a small standing delay (delay.go). Beside a competitor that fills the
// queue anyway it would be driven out, so it lets go when the delay stays
// although it has yielded.
type Pacer struct {
	rate     float64 // bytes a nanosecond; 0 = not paced
	Capacity float64 // delivered while the path was full, smoothed; 0 = never full
	last     float64 // delivered in the measurement before
	Full     int64   // when it last was
	first    int64   // and first
	short    int64   // when the queue was last short
	gone     int64   // and when as good as gone
	next     int64   // when to decide again
	free     int64   // not paced before
	calm     int     // decisions in a row that found no queue
	steady   int     // measurements in a row without growth, while nothing is known
}

const (
	PaceTarget = 3e6   // ns of standing queue: enough to keep the path busy
	PaceBusy   = 2e6   // and this much says that the path is full
	PaceSure   = 15e6  // and this much leaves no doubt
	paceDrain  = 60e6  // ns, and two round trips: how fast it leaves
	paceMost   = 0.15  // least pace below what the path carries
	paceRoom   = 1.05  // while nothing waits for the pace
	paceOver   = 2     // most pace over what the path was seen to carry
	paceProbe  = 0.02  // more at each decision, at first
	paceCalm   = 3     // decisions without a queue before probing doubles
	paceEvery  = 1e8   // ns between two probes, or a round trip
	paceYoung  = 1e9   // what stands then is what TCP overshot by: it may go faster
	paceStood  = 8e8   // ns, and two round trips: a queue of ours would have left
	paceFree   = 4e9   // how long it then competes
	paceShort  = 0.985 // of what the pace lets pass: the path took that much,
	paceHeld   = 1.03  // and this much if there was not more;
	paceUsed   = 0.85  // less is not for want of room
	// paceBunched is how much more than the pace a measurement may prove: when the
	// path or this machine stood still, what comes afterwards comes at once.
	paceBunched = 1.03
	// paceStart bounds TCP while it finds its window, once a queue is there: what
	// was acknowledged left a round trip before it.
	paceStart = 1.5
	paceGrows = 1.3 // from one measurement to the next: TCP still finds its window
	// fullMemory is how long it is believed what a path carried when it was full.
	fullMemory = 30e9
)

// Known returns what the path carries, or 0 if it was not full lately.
func (p *Pacer) Known(now int64) float64 {
	if p.Capacity == 0 || now-p.Full > fullMemory {
		return 0
	}
	return p.Capacity
}

// Young says that the path has just been full for the first time.
func (p *Pacer) Young(now int64) bool { return now-p.first < paceYoung }

// Learn takes one measurement: the standing queue (ns), what was delivered (bytes
// a nanosecond), whether what was delivered has met that queue for certain, and
// whether the path had more to carry than it took.
func (p *Pacer) Learn(now, queue int64, through float64, met, limited bool) {
	if through <= 0 {
		return
	}
	known, last := p.Known(now), p.last
	p.last = through
	if known > 0 && p.rate > 0 && !p.Young(now) { // what came earlier is counted with it
		through = min(through, max(p.rate, known)*paceBunched)
	}
	share := 0.0 // of what was measured now
	switch {
	case queue <= PaceBusy || !limited && queue < PaceSure:
		if known > 0 && through > known { // acknowledgements come in bursts
			p.Capacity += (through - known) / 3
		}
	case known == 0:
		p.steady++
		switch { // acknowledgements come in bursts
		case through >= last*paceGrows || through*paceGrows <= last:
			p.steady = 0
		case met:
			share, through = 1, (through+last)/2
		case p.steady > 1 || queue >= PaceSure:
			share, through = 1, max(through, last)
		}
		if share > 0 {
			p.first, p.steady = now, 0
		}
	case through > known:
		share = 0.75
	case p.rate > 0 && p.rate < known && through > p.rate*paceShort && through < p.rate*paceHeld && now-p.gone < paceStood:
		// The pace held it back: a queue of ours would have brought more.
	case queue > 2*PaceTarget && p.Young(now) && through > p.rate*paceHeld: // longer measured than at first
		share = 0.75
	case queue > 2*PaceTarget:
		share = 0.3
	default: // the path may have been empty for a moment
		share = 0.125
	}
	if share > 0 {
		p.Capacity, p.Full = known+(through-known)*share, now
	}
	if queue <= PaceTarget {
		p.gone = now
	}
	if queue < PaceSure || p.short == 0 || now < p.free {
		p.short = now
	}
}

// Offers returns what to give the path: what it carries, and while the pace asks
// for more, as much more as it has taken.
func (p *Pacer) Offers(now int64) float64 {
	return max(p.Known(now), min(p.rate, p.last/paceUsed))
}

// Update answers with the pace, after learn. stands is the queue with what jitter
// explains of it; limited says whether the path had more to carry than it took.
func (p *Pacer) Update(now, queue, stands, srtt int64, limited bool) float64 {
	capacity := p.Known(now)
	if capacity == 0 || now < p.free {
		if p.rate, p.calm = 0, 0; capacity == 0 && queue >= PaceSure {
			p.rate = p.last * paceStart
		}
		return p.rate
	}
	switch excess := float64(queue - PaceTarget); {
	case now-p.short > paceStood+2*srtt: // somebody else fills the queue
		p.rate, p.calm, p.free = 0, 0, now+paceFree
	case excess > 0: // what stands in the queue leaves within a few round trips
		most := paceMost
		if p.Young(now) { // what TCP overshot by
			most *= 2
		}
		p.calm, p.next = 0, now+max(srtt, paceEvery)
		p.rate = capacity * (1 - min(excess/float64(max(paceDrain, 2*srtt)), most))
	case now < p.next && p.rate > 0:
		if p.calm == 0 { // drained
			p.rate = max(p.rate, capacity)
		}
	case !limited:
		p.calm, p.next = 0, now+max(srtt, paceEvery)
		p.rate = capacity * paceRoom
	case (queue > PaceBusy || stands > PaceTarget) && p.rate > 0: // as it should be
	default: // a little more, and the more the longer there is room
		p.calm, p.next = min(p.calm+1, paceCalm+6), now+max(srtt, paceEvery)
		step := paceProbe * float64(int(1)<<max(p.calm-paceCalm, 0))
		p.rate = min(max(p.rate, capacity)*(1+min(step, 0.5)), capacity*paceOver)
	}
	return p.rate
}
