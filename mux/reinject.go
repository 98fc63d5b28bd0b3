package mux

import (
	"slices"

	"github.com/mpsocks/mpsocks/mux/sched"
)

// Reinjection (RFC 8684, Section 3.3.6): what a subflow that ended or stalled
// still holds goes out on others, with the same mapping; the receiver keeps
// what comes first.

// reclaim queues everything of f that has no Data ACK for reinjection.
func (s *Session) reclaim(f *subflow) {
	bit := uint64(1) << f.slot
	for i := f.sentRing.head; i < f.sentRing.tail; i++ {
		if sn := f.sentRing.at(i).sn; s.inflight.Live(sn) != nil {
			s.inflight.At(sn).On &^= bit | arrived
			s.redo = append(s.redo, sn)
		}
	}
	f.unassign()
	s.orderRedo()
}

// unassign takes back what f has been given and nobody has begun to write.
func (f *subflow) unassign() {
	s := f.s
	for _, sn := range f.pending {
		s.inflight.Unpin(sn)
		if sg := s.inflight.Live(sn); sg != nil {
			sg.On &^= 1 << f.slot
			s.redo = append(s.redo, sn)
		}
	}
	f.pending, f.pendingSize = f.pending[:0], 0
}

// orderRedo puts the oldest first: the cumulative Data ACK waits for it.
func (s *Session) orderRedo() {
	slices.Sort(s.redo)
	s.redo = slices.Compact(s.redo)
}

// stall takes the subflow out of use and sends what it holds on others.
func (f *subflow) stall(now int64) {
	if f.stale {
		return
	}
	f.stale, f.staleSince = true, now
	f.s.log.Debug().Str("path", f.path.cfg.Name).Int("subflow", f.slot).Int64("waited_ms", (now-f.progress)/1e6).Msg("subflow stale")
	f.surrender()
}

// surrender queues what the peer's kernel has not acknowledged for reinjection.
func (f *subflow) surrender() {
	s := f.s
	if f.closed || f.epoch != s.epoch { // detach does it, or the numbers mean nothing now
		return
	}
	for i := f.sentRing.una; i < f.sentRing.tail; i++ {
		if sn := f.sentRing.at(i).sn; s.inflight.Live(sn) != nil {
			s.redo = append(s.redo, sn)
		}
	}
	f.unassign()
	s.orderRedo()
}

// rescue is for a subflow that is there again, or new: while all were stale, stale
// ones were given something as well, and it may be the first that moves.
func (s *Session) rescue() {
	for _, f := range s.subs {
		if f.stale && !f.closed {
			f.surrender()
		}
	}
}

// dataAckTime is how long a Data ACK may take, in ns beyond two round trips, for what
// a kernel has acknowledged.
const dataAckTime = 250e6

// missing finds what some kernel has acknowledged and the peer has not. Where
// something on the way ends TCP (RFC 3135), the acknowledgement is not the
// peer's, and what is behind it may be dead. The subflows that carried it are
// not used until the peer itself answers.
func (s *Session) missing(now int64) {
	q := &s.inflight
	sg := q.Live(q.Head)
	if sg == nil || sg.On&arrived == 0 {
		s.lackSince = 0
		return
	}
	if s.lackSince == 0 || s.lack != q.Head {
		s.lack, s.lackSince = q.Head, now
	}
	slowest := int64(0)
	for _, f := range s.subs {
		slowest = max(slowest, f.tx.srtt)
	}
	if now-s.lackSince < dataAckTime+2*slowest {
		return
	}
	s.lackSince = 0
	on := sg.On &^ arrived
	for _, f := range s.subs {
		if on&(1<<f.slot) != 0 && !f.closed {
			f.stall(now)
			f.mute = true
			f.path.doubted = now
		}
	}
	for _, f := range s.subs { // what acknowledges for the peer does so for the neighbours too
		if f.path.doubted == now && !f.closed {
			f.ping(now)
		}
	}
	for sn := q.Head; sn < q.Tail; sn++ {
		if sg := q.Live(sn); sg != nil && sg.On&arrived != 0 && sg.On&^arrived&^on == 0 {
			sg.On &^= arrived
			s.redo = append(s.redo, sn)
		}
	}
	s.orderRedo()
}

// reinject sends segments again whose subflow ended or stalled.
func (s *Session) reinject() {
	set := sched.Usable(s.cands, false)
	done := 0
	for _, sn := range s.redo {
		sg := s.inflight.Live(sn)
		if sg == nil || sg.On&arrived != 0 || s.moving(sg.On) {
			done++
			continue
		}
		n := int(sg.N)
		fit := set
		for i := range s.cands {
			if sg.On&(1<<s.candSub[i].slot) != 0 {
				fit &^= 1 << i
			}
		}
		i := sched.PickSmall(s.cands, fit, n, s.turn)
		if i == sched.NoSubflow {
			break
		}
		s.give(i, sn, n, nil)
		s.reinjected++
		done++
	}
	s.redo = s.redo[:copy(s.redo, s.redo[done:])]
}

// moving reports whether some subflow of the set is alive and not stale.
func (s *Session) moving(on uint64) bool {
	for _, f := range s.subs {
		if on&(1<<f.slot) != 0 && !f.stale && !f.path.dark && !f.closed {
			return true
		}
	}
	return false
}
