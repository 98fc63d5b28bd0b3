package engine

import (
	"math"

	"github.com/mpsocks/mpsocks/mux/dsn"
)

// Where something on the way ends TCP (RFC 3135), a kernel's acknowledgement is not the
// peer's, and what is behind it may be dead. What a kernel has acknowledged and the peer
// has not is then all that there is to see of it.

const (
	// lackAsk is how late a Data ACK may be, in ns beyond a round trip, before the peer is
	// asked: it may wait a moment for data to go with, and for a busy machine.
	lackAsk = 60e6
	// lackTime is how late the answer may be, beyond two round trips, while another path
	// brings answers to the same question.
	lackTime = 50e6
	// dataAckTime is how late a Data ACK may be beyond two round trips where nothing tells
	// whether the peer is there at all.
	dataAckTime = 250e6
)

// A lack is the first segment without Data ACK, if a kernel has it.
type lack struct {
	sn    uint64
	at    int64 // since when, 0 = there is none
	asked int64 // when the peer was asked, 0 = not yet
	due   int64 // when it is to be
}

// look returns the segment, or nil.
func (l *lack) look(q *dsn.InFlight, now int64) *dsn.Segment {
	sg := q.Live(q.Head)
	switch {
	case sg == nil || sg.On&arrived == 0:
		*l = lack{}
		return nil
	case l.at == 0 || l.sn != q.Head:
		*l = lack{sn: q.Head, at: now}
	}
	return sg
}

// next is in how many ns it is to be looked at again.
func (l *lack) next(now int64) int64 {
	switch {
	case l.at == 0:
		return math.MaxInt64
	case l.asked == 0:
		return max(l.due-now, TickBusy)
	}
	return TickBusy
}

// regain has all go again that a kernel has acknowledged to these subflows, a bit set, and
// that only they brought.
func (h *held) regain(on uint64) {
	q, n := &h.out, len(h.redo)
	for sn := q.Head; sn < q.Tail; sn++ {
		if sg := q.Live(sn); sg != nil && sg.On&arrived != 0 && sg.On&^arrived&^on == 0 {
			sg.On &^= arrived
			h.queue(sn)
		}
	}
	h.order(n)
}

// seek finds what some kernel has acknowledged and the peer has not. The subflows that
// carried the first such segment are not to be used until the peer answers; nor are their
// neighbours, where the peer is seen to be there by another path: what acknowledges for it
// does so for all of a path. All that only they brought goes again.
func seek(e *Engine, now int64) {
	l := &e.held.lack
	sg := l.look(&e.held.out, now)
	if sg == nil {
		return
	}
	slowest := int64(0)
	for _, f := range e.subs {
		slowest = max(slowest, f.tx.srtt)
	}
	on := sg.On &^ arrived
	l.due = l.at + slowest + lackAsk
	switch late := now - l.at - 2*slowest; {
	case l.asked == 0 && now >= l.due:
		l.asked = now
		query(e, on, now)
		return
	case l.asked != 0 && deaf(e, on, l.asked, now):
		for _, p := range e.paths {
			if own := slotsOf(p); own&on != 0 {
				on |= own
				disown(e, p, now)
			}
		}
	case late < dataAckTime:
		return
	}
	*l, e.disowned = lack{}, 0
	e.held.regain(on)
	for _, f := range e.subs {
		if on&(1<<f.slot) != 0 && f.state != Ended {
			e.stall(f, now, missing)
			f.path.doubted = now
		}
	}
	for _, f := range e.subs {
		if f.path.doubted == now {
			f.ping(now)
		}
	}
}

// inquire asks a path that is quiet while others bring something for a sign of life,
// unless it should sleep. A half that only receives learns of a dead path by this alone,
// and so does one whose packets all go by another path as well, where something on the way
// acknowledges for the peer: none of them is missed. Where a kernel has the question, and no
// answer comes while another path shows that the peer is there, nothing but its own answer
// is believed. Where nothing comes by any path they are all asked once, if much came until then: perhaps
// there was no more, and all of them may be dead for a moment, so that the answer has its time.
func inquire(e *Engine, p *Path, now int64) {
	if f := p.quizzed; f != nil {
		switch {
		case f.state != Moving || p.state != PathUp || p.heard >= p.quizzedAt:
			p.quizzed = nil
		case p.quizTaken == 0:
			if f.tx.kernel && f.acked > f.probeEnd {
				p.quizTaken = now
			}
		case now-p.quizTaken >= lackTime && deaf(e, 1<<f.slot, p.quizzedAt, now):
			p.quizzed, p.doubted = nil, now
			disown(e, p, now)
		}
		return
	}
	silent := now-e.heard > quietAfter
	if !p.woken || !p.quiet(now) || silent && e.heard-e.poured.at > quietAfter || p.state == PathDark || p.cfg.Metered {
		return
	}
	for _, f := range p.subs {
		if f.state == Moving && !f.backup {
			f.ping(now)
			p.quizzed, p.quizzedAt, p.quizTaken, p.patient = f, now, 0, silent
			return
		}
	}
}

// slotsOf are the path's subflows, a bit set.
func slotsOf(p *Path) (on uint64) {
	for _, f := range p.subs {
		on |= 1 << f.slot
	}
	return on
}

// disown takes all subflows of a path out of use, for the peer does not answer by it
// whatever kernels acknowledge; what only they brought is to be regained.
func disown(e *Engine, p *Path, now int64) {
	for _, f := range p.subs {
		if f.state != Ended {
			e.stall(f, now, missing)
		}
	}
	e.disowned |= slotsOf(p)
}

// query asks the peer on the subflows of that bit set, and on one of every other path that
// is not to rest.
func query(e *Engine, on uint64, now int64) {
	for _, p := range e.paths {
		if slotsOf(p)&on == 0 {
			if f := p.warm(); f != nil && p.state == PathUp && !p.spare() {
				f.ping(now)
			}
			continue
		}
		for _, f := range p.subs {
			if on&(1<<f.slot) != 0 {
				f.ping(now)
			}
		}
	}
}

// deaf says that the peer, asked then, has answered by another path and not on these
// subflows, where it had the time to.
func deaf(e *Engine, on uint64, asked, now int64) bool {
	there := false
	for _, f := range e.subs {
		switch {
		case f.state == Ended:
		case on&(1<<f.slot) != 0:
			if f.heard >= asked || now-asked < 2*f.tx.srtt+lackTime {
				return false
			}
		case slotsOf(f.path)&on == 0:
			there = there || f.heard > asked+f.tx.srtt // sent when the question was there
		}
	}
	return there
}
