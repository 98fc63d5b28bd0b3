package mux

import "encoding/binary"

// One-way delay: a round trip mixes the queues of both directions, and two
// pacers that both yield to their sum leave the path empty. So a path that
// carries bulk is asked, by a probe on a thin subflow, when the peer's clock
// got it; over the least such difference lately, the rest is the queue of this
// direction. The clocks need not agree, only run alike. A path at rest is asked
// now and then, so that the first queue is not taken for the way itself; and all
// are when a session wakes and while it sends, for others may fill a path that
// looks near.
type delayMeter struct {
	asked  int64
	open   int64  // a question that has no answer yet, 0 = none
	quick  int    // questions to ask at once, see wakeDelay
	octets uint64 // what the session had sent when it last asked
	base   floor
	recent [64]int64
	jitter int64    // smoothed difference from one to the next (RFC 3550, Section 6.4.1)
	heard  int64    // when the last answer came
	back   [2]int64 // the last two differences of the way back,
	home   floor    // and the least
	count  int
}

const (
	delayEvery  = 15e6
	delayLeast  = 6     // samples for a judgement
	delayStart  = 2     // while TCP finds its window, which doubles in a round
	delaySteep  = 8e6   // trip, so few do if they show this much
	delayRest   = 10e9  // between the questions to a path of a session at rest
	delayActive = 1e9   // of one that sends something,
	delayBeside = 100e6 // and if that was more than delayOctets since
	delayOctets = 8 << 10
	delayFresh  = 150e6
	delayOld    = 1500e6 // says nothing about now any more
	delaySlack  = 10e6   // an answer that takes a round trip and this much is late
	bulkRecent  = 2e9
	delayStep   = 4    // so many times the jitter so far,
	delayLeap   = 2e6  // and this, is the most that one step says of it: machines pause
	delayWindow = 20e9 // clocks that differ by 50 ppm drift 1 ms in it
	noDelay     = int64(1) << 62

	probeDelay  = 3 // stamp of the sender; answered with
	probeDelayR = 4 // that stamp and the receiver's clock
)

// ask notes a question.
func (m *delayMeter) ask(now int64, octets uint64) {
	if m.quick > 0 {
		m.quick--
	}
	if m.open == 0 || now-m.open > delayOld {
		m.open = now
	}
	m.asked, m.octets = now, octets
}

// answered notes that the question of that time has its answer.
func (m *delayMeter) answered(sent int64) {
	switch {
	case sent >= m.asked:
		m.open = 0
	case sent >= m.open:
		m.open = m.asked
	}
}

// overdue returns by how much the answer to a question is late, in ns, when no
// other came lately: so long at least is the queue that it waits in.
func (m *delayMeter) overdue(now, rtt int64) int64 {
	if m.open == 0 || now-m.heard < delayFresh || now-m.asked > delayOld {
		return 0
	}
	if late := now - m.open - rtt; late > delaySlack {
		return late
	}
	return 0
}

// beside returns the queue, in ns, of a path that carries no bulk of ours: the
// few samples there are come slowly.
func (m *delayMeter) beside(now int64) int64 {
	if !m.recently(now) {
		return 0
	}
	return m.beyond(m.lately())
}

// lately returns the delay, in ns, that the last answers showed, jitter included.
func (m *delayMeter) lately() int64 { return max(min(m.ago(0), m.ago(1))-m.empty(), 0) }

// returning returns the queue, in ns, of the way back. What is known of the way
// there is at least as old.
func (m *delayMeter) returning(now int64) int64 {
	if !m.recently(now) {
		return 0
	}
	return max(m.late()-m.home.least(), 0)
}

// recently says that the last answers still tell something.
func (m *delayMeter) recently(now int64) bool {
	return m.count >= delayStart && now-m.heard <= delayOld
}

// add takes the differences between the clocks, there and back.
func (m *delayMeter) add(now, d, back int64) {
	m.heard = now
	m.back[0], m.back[1] = m.back[1], back
	m.base.add(now, d, m.count == 0)
	m.home.add(now, back, m.count == 0)
	if m.count > 0 {
		step := d - m.ago(0)
		m.jitter += (min(max(step, -step), delayStep*m.jitter+delayLeap) - m.jitter) / 16
	}
	m.recent[m.count%len(m.recent)] = d
	m.count++
}

// ago returns the difference that came so many before the last.
func (m *delayMeter) ago(i int) int64 { return m.recent[(m.count-1-i)%len(m.recent)] }

// empty returns the difference of the path without a queue.
func (m *delayMeter) empty() int64 { return m.base.least() }

// A floor is the least of the last one or two windows.
type floor struct {
	last, this int64
	turn       int64 // when this window began
}

func (l *floor) add(now, d int64, first bool) {
	switch {
	case first:
		*l = floor{d, d, now}
	case now-l.turn > delayWindow:
		*l = floor{l.this, d, now}
	}
	l.this = min(l.this, d)
}

func (l *floor) least() int64 { return min(l.last, l.this) }

// queue returns the standing delay of this direction in ns, beyond what its
// jitter explains.
func (m *delayMeter) queue(rtt int64, starting bool) (int64, bool) {
	stands, known := m.stands(rtt, starting)
	return m.beyond(stands), known
}

// beyond returns what jitter does not explain of a delay.
func (m *delayMeter) beyond(delay int64) int64 { return max(delay-m.jitter, 0) }

// stands returns the standing delay in ns. The least of the last samples counts:
// jitter, a retransmission or a late wake-up only add, and what TCP sends in
// bursts, once a round trip, does not stand.
func (m *delayMeter) stands(rtt int64, starting bool) (int64, bool) {
	n := min(max(int(rtt/delayEvery), delayLeast), len(m.recent))
	if m.count < n {
		return 0, false
	}
	least, base := noDelay, m.empty()
	for i := range n {
		least = min(least, m.ago(i))
		if starting && i == delayStart-1 && least-base > delaySteep {
			break
		}
	}
	return max(least-base, 0), true
}

// fresh says that the last answer is not old.
func (m *delayMeter) fresh(now int64) bool { return m.count >= delayLeast && now-m.heard < delayFresh }

// last returns the delay, in ns, that the last answer showed.
func (m *delayMeter) last() int64 {
	return max(m.ago(0)-m.empty(), 0)
}

// peak returns the longest delay, in ns, that the last answers showed: those of a
// tenth of a second while the path carries bulk.
func (m *delayMeter) peak() int64 {
	most := m.empty()
	for i := range min(delayLeast, m.count) {
		most = max(most, m.ago(i))
	}
	return most - m.empty()
}

// late returns how long the last acknowledgements were under way, but for the
// difference of the clocks; 0 if it is not known.
func (m *delayMeter) late() int64 {
	if m.count < delayStart {
		return 0
	}
	return min(m.back[0], m.back[1])
}

func (p *path) carriesBulk(now int64) bool { return p.bulkAt != 0 && now-p.bulkAt < bulkRecent }

// wakeDelay has every path asked when a session begins to send after a rest.
func (s *Session) wakeDelay(now int64) {
	if s.octets == s.octetsSeen {
		return
	}
	rested := now-s.activeAt > delayOld
	s.octetsSeen, s.activeAt = s.octets, now
	for _, p := range s.paths {
		if rested && now-p.delay.heard > delayOld {
			p.delay.quick = delayLeast
		}
	}
}

// askDelay sends a probe on the path's thinnest subflow, when one is due. The
// caller holds the session's lock.
func (s *Session) askDelay(p *path, now int64) {
	every := int64(delayRest)
	m := &p.delay
	switch {
	case m.count < delayLeast || p.carriesBulk(now):
		every = delayEvery
	case p.cfg.Metered || now-s.activeAt > delayOld:
	case m.quick > 0:
		every = delayEvery
	case s.octets-m.octets > delayOctets: // which might choose this one
		every = delayBeside
	default:
		every = delayActive
	}
	if now-m.asked < every {
		return
	}
	var best *subflow
	for _, f := range s.subs {
		if f.path != p || f.closed || f.stale || f.blocked || len(f.control) > 0 {
			continue
		}
		if best == nil || (best.bulk && !f.bulk) {
			best = f
		}
	}
	if best != nil {
		m.ask(now, s.octets)
		best.control = appendProbe(best.control, probeDelay, uint64(now))
	}
}

// delayProbe answers or takes one.
func (f *subflow) delayProbe(typ uint8, b []byte) {
	s := f.s
	now := s.now()
	switch {
	case typ == probeDelay && len(b) == 8:
		s.queueControl(f, appendProbe(nil, probeDelayR, binary.BigEndian.Uint64(b), uint64(now)))
		s.pump()
	case typ == probeDelayR && len(b) == 16:
		sent, got := int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
		s.mu.Lock()
		p := f.path
		p.delay.answered(sent)
		p.delay.add(now, got-sent, now-got)
		if !p.carriesBulk(now) {
			p.extra = p.delay.beside(now)
		}
		s.mu.Unlock()
	}
}
