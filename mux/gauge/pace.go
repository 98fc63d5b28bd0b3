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
	rate      float64 // bytes a nanosecond; 0 = not paced
	Capacity  float64 // delivered while the path was full, smoothed; 0 = never full
	last      float64 // delivered in the measurement before
	Full      int64   // when it last was
	first     int64   // and first
	gone      int64   // and when as good as gone
	next      int64   // when to decide again
	free      int64   // not paced before
	calm      int     // decisions in a row that found no queue
	alien     int64   // of the queue, ns, what does not answer to yielding,
	yields    int64   // since when it is yielded to what stands beyond that; 0 = not,
	stood     int64   // and how much that was
	dip       int64   // since when it is yielded to by far; 0 = not,
	held      float64 // and what was delivered before
	ours      int64   // when a dip has shown last that what stood there was ours
	short     int64   // when the queue was last short
	steady    int     // measurements in a row without growth, while nothing is known
	lost      int64   // when something was lost last
	shown     float64 // most that was believed, as long as no queue comes of it
	withdrawn int     // how often what was first believed was

	// What the path carries is doubted, see doubt.
	unsure bool    // a short queue was all that spoke for it
	odd    float64 // measurements with a queue that cannot be ours, fading
	queue  int64   // of the measurement before
	made   float64 // ns of queue that the pace beyond what is believed has made since it,
	before float64 // and until it since the one before
	paced  int64   // when the pace was set last
	check  int64   // when to try what is believed
	wait   int64   // and how long after it to try again
	trial  float64 // what is tried; 0 = nothing
	more   float64 // that is this much more than is believed
	begun  int64   // since when
	opened int64   // the queue then
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
	paceOurs   = 5e9   // what stands again so soon after a dip is not ours
	paceYields = 0.97  // of what is believed: a pace below lets a queue of ours leave
	paceLeaves = 0.75  // of what stood there: less, and it is about to
	paceShort  = 0.985 // of what the pace lets pass: the path took that much,
	paceHeld   = 1.03  // and this much if there was not more;
	paceAgain  = 0.98  // of what was believed before, where no queue stands
	paceUsed   = 0.85  // less is not for want of room
	// paceBunched is how much more than the pace a measurement may prove: when the
	// path or this machine stood still, what comes afterwards comes at once.
	paceBunched = 1.03
	// paceStart bounds TCP while it finds its window, once a queue is there: what
	// was acknowledged left a round trip before it.
	paceStart = 1.5
	// paceFirst is how many bytes a round trip that bound leaves at least: TCP's first ten
	// segments and as many again, as its measurements before them are of next to nothing.
	paceFirst = 2 * 10 * 1448
	// paceShows is how much shorter than a measurement, a round trip included, a queue may
	// be that shows a first rate: in another one it would be as long as half of it, and a
	// pause of the machine makes a short one.
	paceShows = 16
	// paceLong is a measurement, ns, so much longer than a pause of the machine that what is
	// seen in one alone may be a pause.
	paceLong  = 200e6
	paceGrows = 1.3 // from one measurement to the next: TCP still finds its window
	// A trial gives the path so much more than it is believed to carry, at most trialMore,
	// that a queue of a trialTrip-th of the round trip, from trialLeast to trialQueue, would come of it
	// in vain before it is noticed: a game beside it has the same way. If the
	// path takes trialTook of that, the belief was wrong, and the next trial follows at
	// once, with half as much again, unless the path took a part of it alone and the rest stands
	// in a queue. If it does not, and a queue has come of it, the trial is over. It is made when the queue has grown oddMost times or so within a second
	// although the pace did not let it, and once where the first belief was unsure. What failed
	// is not repeated before trialWait, twice as long each time.
	trialMore  = 0.25
	trialQueue = 15e6 // ns
	trialLeast = 5e6
	trialTrip  = 3
	trialTook  = 0.6
	trialWait  = 1e9
	trialLong  = 16e9 // and at most: what becomes better is found within that
	trialGrew  = 5e6  // ns: so much more queue is what the path did not take of it,
	trialStop  = 10e6 // ns: so much more queue ends it, which is told late and by the least of several answers,
	trialMost  = 1e9  // or this much time
	oddMost    = 2.5
	oddFade    = 0.9 // from one measurement to the next: they count for about a second
	oddGrew    = 2e6 // ns of growth from one measurement to the next
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

// doubt looks for signs that the path carries more than is believed, and has that tried.
// A delay that wanders by itself (a radio's scheduler, somebody else's burst) looks like a
// queue; yielding to it, the path delivers less, and is believed to carry no more. But a
// queue of ours grows only while more is sent than the path carries. What a pace beyond the
// belief has made of it says nothing: it is seen a measurement later, as a queue is told of by
// the least of several answers.
func (p *Pacer) doubt(now, queue, window int64, through float64, limited bool) {
	known := p.Known(now)
	grew := queue > PaceTarget && queue > p.queue+max(oddGrew, int64(p.made+p.before))
	p.queue, p.made, p.before = queue, 0, p.made
	switch {
	case known == 0 || p.rate == 0 || now < p.free:
		if p.odd, p.trial, p.check = 0, 0, 0; p.Capacity > 0 && known == 0 { // forgotten
			p.withdrawn = 0
		}
		return
	case p.check == 0:
		p.check, p.wait = now+paceYoung, trialWait
	}
	if p.odd *= oddFade; grew && p.trial == 0 {
		p.odd++
	}
	switch {
	case p.trial > 0 && now-p.begun < window: // what was measured began before
	case p.trial > 0 && through > known*(1+p.more*trialTook):
		p.Capacity, p.Full = min(through, p.trial*paceBunched), now
		if p.wait = trialWait; queue > p.opened+trialGrew && through < p.trial*paceShort {
			p.settle(now)
		} else {
			p.begin(now, queue, min(p.more*3/2, trialMore))
		}
	case p.trial > 0: // TCP may take a while to follow, and with no queue it does no harm
		if now-p.begun > trialMost || queue > p.opened+trialGrew {
			p.settle(now)
		}
	case limited && now >= p.check && through > p.rate*paceUsed && (p.odd >= oddMost || p.unsure):
		p.unsure = false
		vain := min(max((window-paceEvery)/trialTrip, trialLeast), trialQueue)
		p.begin(now, queue, min(float64(vain)/float64(window), trialMore))
	}
}

func (p *Pacer) begin(now, queue int64, more float64) {
	p.trial, p.more, p.begun, p.opened = p.Capacity*(1+more), more, now, queue
}

// settle ends a trial that has shown nothing.
func (p *Pacer) settle(now int64) {
	p.trial, p.odd = 0, 0
	p.wait = min(2*p.wait, trialLong)
	p.check = now + p.wait
}

// Lost notes that something was lost on the path.
func (p *Pacer) Lost(now int64) { p.lost = now }

// outgrown says that what was first believed was wrong, where neither a long queue nor a loss
// spoke for it: TCP brings so much more as while it finds its window, or a queue has come again
// and again although the pace did not let it. A delay that wanders by itself, or a pause, was
// taken for a queue. It wanders on when the belief is right: that is a reason twice at most.
func (p *Pacer) outgrown(now, queue int64, through float64) bool {
	known := p.Known(now)
	if known == 0 || queue >= PaceSure || now-p.first > 2*paceYoung || p.lost > 0 && p.lost > p.first-paceYoung {
		return false
	}
	return p.Young(now) && through >= known*paceGrows || p.odd >= oddMost && p.withdrawn < 2
}

// withdraw has TCP find its window as if nothing had been believed yet.
func (p *Pacer) withdraw() {
	p.Capacity, p.Full, p.first = 0, 0, 0
	p.rate, p.calm, p.steady, p.unsure = 0, 0, 0, false
	p.odd, p.trial, p.check = 0, 0, 0
	p.withdrawn++
}

// Learn takes one measurement: the standing queue (ns), what was delivered (bytes
// a nanosecond), whether what was delivered has met that queue for certain, and
// whether the path had more to carry than it took.
// The measurement took window ns, the round trip included that an acknowledgement takes.
func (p *Pacer) Learn(now, queue, window int64, through float64, met, limited bool) {
	if through <= 0 {
		return
	}
	queue -= min(p.alien, queue)
	stood := p.queue > PaceBusy || window < paceLong
	p.doubt(now, queue, window, through, limited)
	known, last := p.Known(now), p.last
	p.last = through
	if p.trial > 0 || p.dip > 0 || p.ours > 0 && now-p.ours < window {
		return // doubt judges a trial, and own a dip
	}
	if p.outgrown(now, queue, through) {
		p.withdraw()
		return
	}
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
		case p.steady > 1 && queue > window/paceShows || stood && queue >= max(PaceSure, window/paceShows):
			share, through = 1, max(through, last)
		}
		if share > 0 {
			p.first, p.steady, p.unsure = now, 0, queue < PaceSure
		}
	case through > known:
		share = 0.75
	case p.rate > 0 && p.rate < known && through > p.rate*paceShort && through < p.rate*paceHeld && (queue < PaceSure || now-p.gone < paceStood):
		// The pace held it back: a queue of ours would have brought more, and grown.
	case queue > 2*PaceTarget && p.Young(now) && through > p.rate*paceHeld: // longer measured than at first
		share = 0.75
	case p.rate > 0 && limited && through < p.rate*paceUsed && queue < PaceSure:
		// TCP's window held it back: were it the path, the queue would grow by more.
	case queue > 2*PaceTarget:
		share = 0.3
	default: // the path may have been empty for a moment
		share = 0.125
	}
	if share > 0 {
		p.Capacity, p.Full = known+(through-known)*share, now
		p.shown = max(p.shown, p.Capacity)
	}
	if queue <= PaceTarget {
		p.gone = now
	}
}

// own returns what of a queue, with and without what jitter explains, may be ours. One that
// was yielded to for longer than it would have needed to leave, and did not, may be that of a path
// that carries a little less than is believed, whose queue stands where the pace is what it
// carries: it leaves when the pace dips. What stays even so, or stands again soon, is not ours:
// the way itself has become longer, or somebody else fills it. Yielding on would lower what is
// believed, and what is believed the pace, without an end. Beside somebody who fills it, the
// pacer competes; what is too little for that is not counted any more.
func (p *Pacer) own(now, queue, stands, srtt int64) (_, _ int64, compete bool) {
	p.alien = min(p.alien, queue)
	own := queue - p.alien
	if queue < PaceSure || p.short == 0 {
		p.short = now
	}
	leaves := float64(own) < paceLeaves*float64(p.stood)
	if p.dip > 0 && leaves {
		p.Capacity, p.Full, p.shown = min(p.held, p.Capacity), now, p.held
		p.dip, p.yields, p.ours = 0, 0, now
	}
	switch {
	case own <= PaceTarget || p.rate == 0 || p.rate >= p.Capacity*paceYields:
		p.yields, p.dip = 0, 0
	case p.yields == 0 || leaves: // it answers
		p.yields, p.stood = now, own
	case now-p.yields <= paceStood+2*srtt:
	case queue >= PaceSure: // what has only just become long is ours
		compete = now-p.short > paceStood+2*srtt
	case p.dip == 0 && (p.ours == 0 || now-p.ours > paceOurs) && p.last > p.rate*paceShort:
		p.dip, p.held = now, p.last
	case p.dip > 0 && float64(now-p.dip) < float64(own)/paceMost+2*float64(srtt):
	default:
		p.alien, p.yields, p.dip = queue, 0, 0
	}
	return queue - p.alien, stands - min(p.alien, stands), compete
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
	if over := p.rate - capacity; over > 0 && capacity > 0 {
		p.made += over / capacity * float64(now-p.paced)
	}
	p.paced = now
	queue, stands, compete := p.own(now, queue, stands, srtt)
	if capacity == 0 || now < p.free {
		if p.rate, p.calm = 0, 0; capacity == 0 && queue >= PaceSure {
			p.rate = max(p.last*paceStart, paceFirst/float64(max(srtt, 1e6)))
		}
		return p.rate
	}
	if p.trial > 0 && queue <= p.opened+trialStop {
		p.rate = p.trial
		return p.rate
	} else if p.trial > 0 {
		p.settle(now)
	}
	switch excess := float64(queue - PaceTarget); {
	case compete:
		p.rate, p.calm, p.free, p.yields = 0, 0, now+paceFree, 0
	case p.dip > 0:
		p.rate, p.calm = p.held*(1-paceMost), 0
	case excess > 0: // what stands in the queue leaves within a few round trips
		most := paceMost
		if p.Young(now) { // what TCP overshot by
			most *= 2
		}
		if p.rate > capacity*1.01 { // it does not carry that any more
			p.shown = capacity
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
		p.rate = max(p.rate, min(p.shown*paceAgain, capacity*(1+trialMore)))
	}
	return p.rate
}
