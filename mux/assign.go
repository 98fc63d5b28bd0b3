package mux

import (
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// From the queue to the subflows: what leaves the queue gets its DSN and a place
// in a subflow's next batch, as the scheduler says. All of it runs under the
// session's lock, by whoever pumps.

// assign moves packets from the queue to subflows: first what must go again,
// then band by band, as long as the scheduler finds room.
func (s *Session) assign(now int64) {
	if len(s.redo) == 0 && s.queue.idle() {
		return
	}
	s.fillCandidates(now)
	if len(s.cands) == 0 {
		return
	}
	s.reinject()
	if s.inflight.full() {
		return
	}
	s.assignSmall(now)
	s.assignBulk(now, largeBands[:])
	if s.queue.least(largeBands[:], 0) < 0 {
		s.assignBulk(now, backupBands[:])
	}
}

func (q *queue) idle() bool {
	for i := range q.bands {
		if !q.bands[i].empty() {
			return false
		}
	}
	return true
}

// assignSmall serves the latency band: each packet where it arrives first,
// with copies while they pay.
func (s *Session) assignSmall(now int64) {
	b := &s.queue.bands[bandLatency]
	set := usable(s.cands, false)
	for !b.empty() && !s.inflight.full() {
		i := pickSmall(s.cands, set, quantum, s.turn)
		if i == noSubflow {
			return
		}
		s.turn++
		f, p := s.queue.pop(bandLatency, now, segmentSize)
		if p == nil {
			return
		}
		n := p.Len()
		switch {
		case f.beh.quic:
			i = pickSteady(s.cands, set, quantum, f.home)
		case !s.lossy:
			i = settled(s.cands, set, quantum, i, s.candidateAt(f.at))
		}
		f.at = uint8(s.candSub[i].slot)
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
	return noSubflow
}

// copy gives a packet to more subflows: other paths first, then, on paths
// that lose packets, others of the same path.
func (s *Session) copy(sn uint64, n int, f *flow, set, carried uint64, want int) {
	for _, same := range [2]bool{false, true} {
		for want > 0 {
			if same && !s.lossy {
				return
			}
			turn := f.home // copies keep their order as well
			if s.lossy {
				turn = s.turn
			}
			i := pickCopy(s.cands, set, carried, n, turn, same)
			if i == noSubflow {
				break
			}
			carried |= 1 << i
			s.give(i, sn, n, f)
			s.turn++
			want--
			f.copies++
			s.copied += uint64(n)
			s.copyTokens -= float64(n)
			if !same {
				break
			}
		}
	}
}

// assignBulk serves bands side by side, in bursts, the one first that has got
// least: flows of one may find room where those of another may not go.
func (s *Session) assignBulk(now int64, bands []int) {
	stuck := 0 // bit set of the bands that find none now
	for !s.inflight.full() {
		first := s.queue.least(bands, stuck)
		if first < 0 {
			return
		}
		if s.burst(first, now) {
			stuck = 0
		} else {
			stuck |= 1 << first
		}
	}
}

// burst makes one choice for a band, then gives as much as fits. It reports
// whether that was anything.
func (s *Session) burst(band int, now int64) bool {
	b := &s.queue.bands[band]
	f := b.head()
	if f == nil {
		return false
	}
	all := usable(s.cands, band == bandMetered)
	set, ordered := all, band == bandOrdered
	switch {
	case ordered:
		set = together(s.cands, set)
	case band != bandStream: // what is large keeps its order within a path
		set = lanes(s.cands, set)
	}
	i := pickBulk(s.cands, set, s.queue.backlog(), f.waited(now), ordered)
	if s.mode == ModeLatency {
		i = pickSmall(s.cands, set, quantum, 0)
	}
	if i == noSubflow {
		return false
	}
	c := &s.cands[i]
	s.candSub[i].bulkAt = now
	given := 0
	for c.room > 0 && !b.empty() && !s.inflight.full() {
		flows := b.active
		f, p := s.queue.pop(band, now, segmentSize)
		if p == nil {
			break
		}
		n := p.Len()
		given += n
		b.served += float64(n) / float64(max(flows, 1))
		sn := s.commit(f, p, now)
		s.give(i, sn, n, f)
		if s.mode == ModeRedundant {
			s.copy(sn, n, f, all, 1<<i, 1)
		}
	}
	return given > 0
}

// commit gives a packet its DSN. From here on it is delivered.
func (s *Session) commit(f *flow, p *buf.Buffer, now int64) uint64 {
	b := p.Bytes()
	f.octets += uint64(len(b))
	f.used.turn(now)
	if f.stream != nil {
		s.classify(f, len(b), nil, now)
		f.packets++
	} else if !packet.IsFragment(b) { // the Identification of fragments joins them
		// It counts what got a DSN, so that the receiver of a flow that was
		// spread sees gaps only where something is still under way.
		packet.SetID(b, f.id)
		f.id++
	}
	s.octets += uint64(len(b))
	if s.capture != nil {
		s.capture.inner(true, b)
	}
	return s.inflight.push(p)
}

// give puts a segment into a subflow's next batch.
func (s *Session) give(i int, sn uint64, n int, fl *flow) {
	c, f := &s.cands[i], s.candSub[i]
	sg := s.inflight.at(sn)
	sg.on |= 1 << f.slot
	sg.pins++
	f.pending = append(f.pending, sn)
	f.pendingSize += n + frameHead
	c.queued += n + frameHead
	c.room -= n + frameHead
	f.sent += uint64(n)
	f.path.sent += uint64(n)
	f.path.share += float64(n)
	if fl != nil {
		fl.used.now |= 1 << f.slot
	}
}
