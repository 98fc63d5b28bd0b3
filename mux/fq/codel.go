package fq

import (
	"math"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// Queue management of one flow: CoDel (RFC 8289), and an age beyond which a packet
// is of no use any more.

const (
	// RFC 8289, Section 4.4 says 5 ms for a queue that drains packet by packet;
	// this one drains in bursts into several paced connections.
	CoDelTarget   = 15e6  // ns
	codelInterval = 100e6 // ns, Section 4.3

	// A sender that does not slow down gets a queue as a good router's: this
	// much beyond the CoDel target, maxAge, and what is older goes. Small flows are
	// let wait longer, maxAgeSmall: what a call or a game can still use. All are let
	// wait maxAgeGrace, and nothing is dropped for standing, for GraceTime at least
	// after a path has died or come back, as the tunnel then is what holds them up.
	maxAge      = 80e6
	maxAgeSmall = 250e6
	maxAgeGrace = 1e9
	GraceTime   = 1500e6

	// A flow of datagrams that CoDel has dropped from for deafAfter without a pause does not
	// answer that: a constant rate, that waits for what a start or a change left behind. It
	// would wait for seconds, as a path nearly full has little left for it. So for deafMemory
	// it is let wait for no more than keeps the paths busy. QUIC answers, if late.
	deafAfter  = 150e6 // ns
	deafMemory = 5e9   // ns
	// deafLeast is what it is let wait beside that: bursts into paced connections leave in it.
	deafLeast = 5e6 // ns
	// deafSpread is the part of what the paths' spread adds to the target: the spread itself,
	// for which a nearer path may be worth a wait.
	deafSpread = 2.0 / 3
)

const (
	// What comes at once after a pause, of this machine or of the way, leaves by itself where the flow's
	// queue was short for burstAfter before, and more is carried than comes: it is let wait as long as it
	// becomes less by one part in burstStep within burstLull. QUIC slows down when something is dropped.
	burstAfter = 1e9 // ns
	burstStep  = 64
	burstLull  = 300e6 // ns
)

// A burst is what of a flow waits beyond its usual, and leaves.
type burst struct {
	short  int64 // since when the queue was short; 0 = it is not
	least  int   // bytes that have waited at least; 0 = there is none
	lessAt int64 // when there were that few
}

// leaves takes how many bytes wait, and whether that is long, and says that it is a burst.
func (u *burst) leaves(now int64, bytes int, long bool) bool {
	switch rests := now - u.short; {
	case !long && u.short == 0:
		u.short = now
		return false
	case !long:
		if rests > codelInterval {
			u.least = 0
		}
		return false
	case u.short != 0:
		if u.least > 0 || rests > burstAfter {
			u.least, u.lessAt = bytes, now
		}
		u.short = 0
	}
	if bytes < u.least-u.least/burstStep {
		u.least, u.lessAt = bytes, now
	}
	if now-u.lessAt > burstLull {
		u.least = 0
	}
	return u.least > 0
}

// A codel is the state of RFC 8289, Section 5.
type codel struct {
	firstAbove, dropNext int64
	count, lastCount     uint32
	dropping             bool
	since                int64 // it drops without a pause,
	deaf                 int64 // and when the flow was last seen not to answer that; 0 = never
	burst                burst
}

// codel dequeues as RFC 8289, Section 5.2.
func (q *Queue) codel(f *Flow, now int64) *buf.Buffer {
	c := &f.codel
	p, above := q.sojourn(f, now)
	if c.dropping {
		if !above {
			c.dropping = false
		}
		for c.dropping && now >= c.dropNext && p != nil {
			q.drop(f, p, DropCoDel)
			c.count++
			p, above = q.sojourn(f, now)
			if !above {
				c.dropping = false
			} else {
				c.dropNext += control(c.count)
			}
		}
	} else if above {
		q.drop(f, p, DropCoDel)
		p, _ = q.sojourn(f, now)
		c.dropping, c.since = true, now
		if delta := c.count - c.lastCount; delta > 1 && now-c.dropNext < 16*codelInterval {
			c.count = delta
		} else {
			c.count = 1
		}
		c.dropNext = now + control(c.count)
		c.lastCount = c.count
	}
	return p
}

// sojourn takes the next packet and tells whether the queue stood above the
// target for a whole interval.
func (q *Queue) sojourn(f *Flow, now int64) (p *buf.Buffer, above bool) {
	c := &f.codel
	for {
		if p = q.take(f); p == nil {
			c.firstAbove = 0
			return nil, false
		}
		wait, oldest := now-p.Stamp, q.oldest(f, now)
		leaves := c.burst.leaves(now, f.Bytes, !f.Behaviour.QUIC && wait >= min(q.Target, oldest) && f.Bytes >= Quantum && !q.Grace)
		if wait > oldest && !(leaves && wait <= maxAge+q.Target) {
			if q.drop(f, p, DropStale); !c.hears(now) {
				c.deaf = now // still
			}
			continue
		}
		if wait < q.Target || f.Bytes < Quantum || q.Grace {
			c.firstAbove = 0
			return p, false
		}
		if c.dropping && now-c.since > deafAfter {
			c.deaf = now
		}
		if c.firstAbove == 0 {
			c.firstAbove = now + codelInterval
			return p, false
		}
		return p, now >= c.firstAbove && !leaves
	}
}

// hears says that the flow may answer what is dropped of it.
func (c *codel) hears(now int64) bool { return c.deaf == 0 || now-c.deaf > deafMemory }

// oldest returns how long a packet of the flow may wait.
func (q *Queue) oldest(f *Flow, now int64) int64 {
	switch {
	case q.Grace:
		return maxAgeGrace
	case kinds[f.Class].Turn == TurnFirst:
		return maxAgeSmall + q.Target
	case !f.Behaviour.QUIC && !f.codel.hears(now):
		return deafLeast + int64(float64(q.Target-CoDelTarget)*deafSpread)
	}
	return maxAge + q.Target
}

func control(count uint32) int64 {
	return int64(codelInterval / math.Sqrt(float64(count)))
}
