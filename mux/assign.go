package mux

import (
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/sched"
)

// From the queue to the subflows: what leaves the queue gets its DSN and a place
// in a subflow's next batch, as the scheduler says. All of it runs under the
// session's lock, by whoever pumps.

// assign moves packets from the queue to subflows: first what must go again,
// then band by band, as long as the scheduler finds room.
func (s *Session) assign(now int64) {
	if len(s.redo) == 0 && s.queue.Idle() {
		return
	}
	if s.fin != 0 {
		return
	}
	s.fillCandidates(now)
	if len(s.cands) == 0 {
		return
	}
	s.reinject()
	if s.inflight.Full() {
		return
	}
	s.assignSmall(now)
	s.assignBulk(now, fq.LargeBands)
	if s.queue.Least(fq.LargeBands) == fq.NoBand {
		s.assignBulk(now, fq.BackupBands)
	}
}

// assignSmall serves the latency band: each packet where it arrives first,
// with copies while they pay.
func (s *Session) assignSmall(now int64) {
	b := &s.queue.Bands[fq.ClassLatency]
	set := sched.Usable(s.cands, false)
	for !b.Empty() && !s.inflight.Full() {
		i := sched.PickSmall(s.cands, set, fq.Quantum, s.turn)
		if i == sched.NoSubflow {
			return
		}
		s.turn++
		f, p := s.queue.Pop(fq.ClassLatency, now, segmentSize)
		if p == nil {
			return
		}
		n := p.Len()
		switch {
		case f.Behaviour.QUIC:
			i = sched.PickSteady(s.cands, set, fq.Quantum, f.Home)
		case !s.lossy:
			i = sched.Settled(s.cands, set, fq.Quantum, i, s.candidateAt(f.At))
		}
		f.At = uint8(s.candSub[i].slot)
		sn := s.commit(f, p, now)
		s.give(i, sn, n, f)
		if want := s.copies(f, n); want > 0 {
			s.copy(sn, n, f, set, 1<<i, want)
		}
	}
}

// candidateAt returns the candidate of a subflow's slot, or noSubflow.
func (s *Session) candidateAt(slot uint8) int {
	for i, f := range s.candSub {
		if f.slot == int(slot) {
			return i
		}
	}
	return sched.NoSubflow
}

// copy gives a packet to more subflows: other paths first, then, on paths
// that lose packets, others of the same path.
func (s *Session) copy(sn uint64, n int, f *fq.Flow, set, carried uint64, want int) {
	for _, same := range [2]bool{false, true} {
		for want > 0 {
			if same && !s.lossy {
				return
			}
			turn := f.Home // copies keep their order as well
			if s.lossy {
				turn = s.turn
			}
			i := sched.PickCopy(s.cands, set, carried, n, turn, same)
			if i == sched.NoSubflow {
				break
			}
			carried |= 1 << i
			s.give(i, sn, n, f)
			s.turn++
			want--
			f.Copies++
			s.copied += uint64(n)
			s.copyBudget.Spend(n)
			if !same {
				break
			}
		}
	}
}

// assignBulk serves bands side by side, in bursts, the one first that has got
// least: flows of one may find room where those of another may not go.
func (s *Session) assignBulk(now int64, bands fq.BandSet) {
	left := bands // but for those that find none now
	for !s.inflight.Full() {
		first := s.queue.Least(left)
		if first == fq.NoBand {
			return
		}
		if s.burst(first, now) {
			left = bands
		} else {
			left &^= 1 << first
		}
	}
}

// burst makes one choice for a band, then gives as much as fits. It reports
// whether that was anything.
func (s *Session) burst(band fq.Class, now int64) bool {
	b := &s.queue.Bands[band]
	f := b.First()
	if f == nil {
		return false
	}
	kind, policy := band.Kind(), s.mode.policy()
	all := sched.Usable(s.cands, kind.Metered)
	set, ordered := all, kind.Spread == fq.SpreadTogether
	switch kind.Spread {
	case fq.SpreadTogether:
		set = sched.Together(s.cands, set)
	case fq.SpreadInPath:
		set = sched.Lanes(s.cands, set)
	}
	i := sched.PickBulk(s.cands, set, s.queue.Backlog(), f.Waited(now), ordered)
	if policy.nearest {
		i = sched.PickSmall(s.cands, set, fq.Quantum, 0)
	}
	if i == sched.NoSubflow {
		return false
	}
	c := &s.cands[i]
	s.candSub[i].bulkAt = now
	given := 0
	for c.Room > 0 && !b.Empty() && !s.inflight.Full() {
		flows := b.Active
		f, p := s.queue.Pop(band, now, segmentSize)
		if p == nil {
			break
		}
		n := p.Len()
		given += n
		s.queue.Serve(band, flows, n)
		sn := s.commit(f, p, now)
		s.give(i, sn, n, f)
		if policy.always {
			s.copy(sn, n, f, all, 1<<i, 1)
		}
	}
	return given > 0
}

// commit gives a packet its DSN. From here on it is delivered.
func (s *Session) commit(f *fq.Flow, p *buf.Buffer, now int64) uint64 {
	b := p.Bytes()
	f.Octets += uint64(len(b))
	f.Used.Turn(now)
	if f.Stream != nil {
		s.classify(f, len(b), nil, now)
		f.Packets++
	} else if !packet.IsFragment(b) { // the Identification of fragments joins them
		// It counts what got a DSN, so that the receiver of a flow that was
		// spread sees gaps only where something is still under way.
		packet.SetID(b, f.ID)
		f.ID++
	}
	s.octets += uint64(len(b))
	if s.capture != nil {
		s.capture.inner(true, b)
	}
	return s.inflight.Push(p)
}

// give puts a segment into a subflow's next batch.
func (s *Session) give(i int, sn uint64, n int, fl *fq.Flow) {
	c, f := &s.cands[i], s.candSub[i]
	sg := s.inflight.At(sn)
	sg.On |= 1 << f.slot
	sg.Pins++
	f.pending = append(f.pending, sn)
	f.pendingSize += n + frameHead
	c.Queued += n + frameHead
	c.Room -= n + frameHead
	f.sent += uint64(n)
	f.path.sent += uint64(n)
	f.path.share += float64(n)
	if fl != nil {
		fl.Used.Now |= 1 << f.slot
	}
}
