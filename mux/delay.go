package mux

import "encoding/binary"

// One-way delay: a round trip mixes the queues of both directions, and two
// pacers that both yield to their sum leave the path empty. So a path that
// carries bulk is asked, by a probe on a thin subflow, when the peer's clock
// got it; over the least such difference lately, the rest is the queue of this
// direction. The clocks need not agree, only run alike. A path at rest is asked
// now and then, so that the first queue is not taken for the way itself.
type delayMeter struct {
	asked  int64
	base   [2]int64 // least difference of the last and the current window
	turn   int64    // when the current window began
	recent [64]int64
	jitter int64    // smoothed difference from one to the next (RFC 3550, Section 6.4.1)
	heard  int64    // when the last answer came
	back   [2]int64 // the last two differences of the way back
	count  int
}

const (
	delayEvery  = 15e6
	delayLeast  = 6    // samples for a judgement
	delayStart  = 2    // while TCP finds its window, which doubles in a round
	delaySteep  = 8e6  // trip, so few do if they show this much
	delayRest   = 10e9 // between the questions to a path without bulk
	delayFresh  = 150e6
	bulkRecent  = 2e9
	delayBeside = 100e6
	delayWindow = 20e9 // clocks that differ by 50 ppm drift 1 ms in it
	noDelay     = int64(1) << 62

	probeDelay  = 3 // stamp of the sender; answered with
	probeDelayR = 4 // that stamp and the receiver's clock
)

// add takes the differences between the clocks, there and back.
func (m *delayMeter) add(now, d, back int64) {
	m.heard = now
	m.back[0], m.back[1] = m.back[1], back
	if m.count == 0 {
		m.base = [2]int64{d, d}
		m.turn = now
	}
	if now-m.turn > delayWindow {
		m.base[0], m.base[1], m.turn = m.base[1], d, now
	}
	m.base[1] = min(m.base[1], d)
	if m.count > 0 {
		step := d - m.ago(0)
		m.jitter += (max(step, -step) - m.jitter) / 16
	}
	m.recent[m.count%len(m.recent)] = d
	m.count++
}

// ago returns the difference that came so many before the last.
func (m *delayMeter) ago(i int) int64 { return m.recent[(m.count-1-i)%len(m.recent)] }

// empty returns the difference of the path without a queue.
func (m *delayMeter) empty() int64 { return min(m.base[0], m.base[1]) }

// queue returns the standing delay of this direction in ns, beyond what its
// jitter explains. The least of the last samples counts: jitter, a
// retransmission or a late wake-up only add, and what TCP sends in bursts, once
// a round trip, does not stand.
func (m *delayMeter) queue(rtt int64, starting bool) (int64, bool) {
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
	return max(least-base-m.jitter, 0), true
}

// fresh says that the last answer is not old.
func (m *delayMeter) fresh(now int64) bool { return m.count >= delayLeast && now-m.heard < delayFresh }

// last returns the delay, in ns, that the last answer showed.
func (m *delayMeter) last() int64 {
	return max(m.ago(0)-m.empty(), 0)
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

// askDelay sends a probe on the path's thinnest subflow, when one is due; bulk
// says that some path carries bulk. The caller holds the session's lock.
func (s *Session) askDelay(p *path, now int64, bulk bool) {
	every := int64(delayRest)
	switch {
	case p.delay.count < delayLeast || p.carriesBulk(now):
		every = delayEvery
	case bulk && !p.cfg.Metered: // which might choose this one
		every = delayBeside
	}
	if now-p.delay.asked < every {
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
		p.delay.asked = now
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
		f.path.delay.add(now, got-sent, now-got)
		s.mu.Unlock()
	}
}
