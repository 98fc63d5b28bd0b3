package mux

import "slices"

// Reinjection (RFC 8684, Section 3.3.6): what a subflow that ended or stalled
// still holds goes out on others, with the same mapping; the receiver keeps
// what comes first.

// reclaim queues everything of f that has no Data ACK for reinjection.
func (s *Session) reclaim(f *subflow) {
	bit := uint64(1) << f.slot
	again := func(sn uint64) {
		if sg := s.inflight.live(sn); sg != nil {
			sg.on &^= bit | arrived
			s.redo = append(s.redo, sn)
		}
	}
	for i := f.sentRing.head; i < f.sentRing.tail; i++ {
		again(f.sentRing.at(i).sn)
	}
	for _, sn := range f.pending {
		s.inflight.unpin(sn)
		again(sn)
	}
	f.pending = nil
	slices.Sort(s.redo) // oldest first: the cumulative Data ACK waits for it
	s.redo = slices.Compact(s.redo)
}

// stall takes the subflow out of use and sends what it holds on others.
func (f *subflow) stall(now int64) {
	if f.stale {
		return
	}
	f.stale, f.staleSince = true, now
	s := f.s
	s.log.Debug().Str("path", f.path.cfg.Name).Int("subflow", f.slot).Int64("waited_ms", (now-f.progress)/1e6).Msg("subflow stale")
	for i := f.sentRing.una; i < f.sentRing.tail; i++ {
		if sn := f.sentRing.at(i).sn; s.inflight.live(sn) != nil {
			s.redo = append(s.redo, sn)
		}
	}
}

// reinject sends segments again whose subflow ended or stalled.
func (s *Session) reinject() {
	set := usable(s.cands, true)
	done := 0
	for _, sn := range s.redo {
		sg := s.inflight.live(sn)
		if sg == nil || sg.on&arrived != 0 || s.moving(sg.on) {
			done++
			continue
		}
		n := int(sg.n)
		fit := set
		for i := range s.cands {
			if sg.on&(1<<s.candSub[i].slot) != 0 {
				fit &^= 1 << i
			}
		}
		i := pickSmall(s.cands, fit, n, s.turn)
		if i == noSubflow {
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
