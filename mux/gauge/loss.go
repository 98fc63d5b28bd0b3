package gauge

const (
	lossyShare   = 0.002 // retransmitted share above which a path without a queue is lossy
	lossySegs    = 250   // segments it is judged over
	lossyForget  = 60e9  // ns that a verdict holds without another like it
	lossyNoQueue = 15e6  // ns: loss with more delay than this is congestion
	lossySure    = 3     // such batches in a row: what TCP overshot by is lost in one
)

// A LossJudge finds out whether a path loses packets without being full, and
// whether that drives CUBIC out.
type LossJudge struct {
	segs, retrans uint64
	batches       int // with loss, less those without
	Lossy         bool
	until         int64
	Stray         int64 // when something was lost though there was no queue
	short         int   // measurements in a row that brought less than there was room for
	ousted        int64 // until then, CUBIC counts as driven out
}

// Lost notes a loss; queue is the longest, in ns, that was seen about then.
func (l *LossJudge) Lost(now, queue int64) {
	if queue < lossyNoQueue {
		l.Stray = now
	}
}

// Yields says that CUBIC holds back what has a rate of through, though it waits, the
// pace would let more pass, and no more stands in the path than a delay that wanders
// shows: on long ways a loss in a thousand packets is enough.
func (l *LossJudge) Yields(now, queue int64, through, pace float64, limited bool) bool {
	if limited && queue < PaceSure && through < pace*paceUsed {
		l.short++
	} else {
		l.short = 0
	}
	if l.short >= lossySure {
		l.ousted = now + lossyForget
	}
	return now < l.ousted
}

// Note takes what was sent and retransmitted since the last call.
func (l *LossJudge) Note(now, queue int64, segs, retrans uint64) bool {
	if queue > lossyNoQueue {
		l.segs, l.retrans = 0, 0
	} else {
		l.segs += segs
		l.retrans += retrans
	}
	if l.segs >= lossySegs {
		if float64(l.retrans) > lossyShare*float64(l.segs) {
			l.batches = min(l.batches+1, lossySure)
		} else {
			l.batches = max(l.batches-1, 0)
		}
		if l.batches == lossySure {
			l.Lossy, l.until = true, now+lossyForget
		}
		l.segs, l.retrans = 0, 0
	}
	if l.Lossy && now > l.until {
		l.Lossy = false
	}
	return l.Lossy
}

// LossMemory is how long, in ns, a loss counts, see LostLately.
const LossMemory = 20e9

// LostLately says that a loss at that time, 0 = never, still counts.
func LostLately(at, now int64) bool { return at != 0 && now-at < LossMemory }
