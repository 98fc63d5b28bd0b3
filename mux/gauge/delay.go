package gauge

// One-way delay: a round trip mixes the queues of both directions, and two
// pacers that both yield to their sum leave the path empty. So a path that
// carries bulk is asked, by a probe on a thin subflow, when the peer's clock
// got it; over the least such difference lately, the rest is the queue of this
// direction. The clocks need not agree, only run alike. A path at rest is asked
// now and then, so that the first queue is not taken for the way itself; and all
// are when a session wakes and while it sends, for others may fill a path that
// looks near.
type Delay struct {
	Asked  int64
	open   int64  // a question that has no answer yet, 0 = none
	Quick  int    // questions to ask at once, set when the session wakes
	Octets uint64 // what the session had sent when it last asked
	base   floor
	recent [64]int64
	Jitter int64    // smoothed difference from one to the next (RFC 3550, Section 6.4.1)
	Heard  int64    // when the last answer came that tells of the way there,
	BackAt int64    // and of the way back
	back   [2]int64 // the last two differences of the way back,
	home   floor    // and the least
	Count  int
	backs  int   // answers that have told of the way back
	blunt  int64 // the last question that bulk was in the way of
}

const (
	DelayEvery  = 15e6           // between the questions to a path that carries bulk, at least: one in the least round trip of most,
	delayTrip   = 16             // and so many in a long one
	DelayLeast  = 6              // samples for a judgement
	delayStart  = 2              // while TCP finds its window, which doubles in a round
	delaySteep  = 8e6            // trip, so few do if they show this much
	DelayRest   = 10e9           // between the questions to a path of a session at rest
	DelayActive = 1e9            // of one that sends something,
	DelayBeside = 100e6          // and if that was more than DelayOctets since
	DelayOctets = 8 << 10        // bytes: so much more was sent that a question is cheap beside it
	delayFresh  = 150e6          // ns: an answer that is no older tells of now
	DelayOld    = 1500e6         // says nothing about now any more
	delaySlack  = 10e6           // an answer that takes a round trip and this much is late
	delayStep   = 4              // so many times the jitter so far,
	delayLeap   = 2e6            // and this, is the most that one step says of it: machines pause
	delayWindow = 20e9           // clocks that differ by 50 ppm drift 1 ms in it
	NoDelay     = int64(1) << 62 // longer than any: nothing was measured
)

// Every is how long it is, ns, from one question to the next on a path of that round trip that carries
// bulk: where that is long, more than delayTrip questions in it tell little more, and they and their
// answers are much of a thin path, or of a thin way back.
func Every(rtt int64) int64 { return max(DelayEvery, rtt/delayTrip) }

// Ask notes a question.
func (m *Delay) Ask(now int64, octets uint64) {
	if m.Quick > 0 {
		m.Quick--
	}
	if m.open == 0 || now-m.open > DelayOld {
		m.open = now
	}
	m.Asked, m.Octets = now, octets
}

// Blunt says of the question just asked that bulk is in its way on its own subflow: its
// answer tells of the way back alone.
func (m *Delay) Blunt() { m.blunt = m.Asked }

// Answered notes that the question of that time has its answer.
func (m *Delay) Answered(sent int64) {
	switch {
	case sent >= m.Asked:
		m.open = 0
	case sent >= m.open:
		m.open = m.Asked
	}
}

// Overdue returns by how much the answer to a question is late, in ns, when no
// other came lately: so long at least is the queue that it waits in.
func (m *Delay) Overdue(now, rtt int64) int64 {
	if m.open == 0 || now-m.Heard < delayFresh || now-m.Asked > DelayOld {
		return 0
	}
	if late := now - m.open - rtt; late > delaySlack {
		return late
	}
	return 0
}

// Beside returns the queue, in ns, of a path that carries no bulk of ours: the
// few samples there are come slowly.
func (m *Delay) Beside(now int64) int64 {
	if !m.recently(now) {
		return 0
	}
	return m.Beyond(m.Lately())
}

// Lately returns the delay, in ns, that the last answers showed, jitter included.
func (m *Delay) Lately() int64 { return max(min(m.ago(0), m.ago(1))-m.empty(), 0) }

// Returning returns the queue, in ns, of the way back. What is known of the way
// there is at least as old.
func (m *Delay) Returning(now int64) int64 {
	if m.backs < delayStart || now-m.BackAt > DelayOld {
		return 0
	}
	return max(m.Late()-m.home.least(), 0)
}

// recently says that the last answers still tell something.
func (m *Delay) recently(now int64) bool {
	return m.Count >= delayStart && now-m.Heard <= DelayOld
}

// Took takes the differences between the clocks, there and back, that the answer to the
// question of that time has shown.
func (m *Delay) Took(asked, now, d, back int64) {
	if asked != m.blunt {
		m.Add(now, d, back)
		return
	}
	m.cameBack(now, back)
}

func (m *Delay) cameBack(now, back int64) {
	m.back[0], m.back[1] = m.back[1], back
	m.home.add(now, back, m.backs == 0)
	m.BackAt = now
	m.backs++
}

// Add takes them of a question that nothing was in the way of.
func (m *Delay) Add(now, d, back int64) {
	m.cameBack(now, back)
	m.Heard = now
	m.base.add(now, d, m.Count == 0)
	if m.Count > 0 {
		step := d - m.ago(0)
		m.Jitter += (min(max(step, -step), delayStep*m.Jitter+delayLeap) - m.Jitter) / 16
	}
	m.recent[m.Count%len(m.recent)] = d
	m.Count++
}

// ago returns the difference that came so many before the last.
func (m *Delay) ago(i int) int64 { return m.recent[(m.Count-1-i)%len(m.recent)] }

// empty returns the difference of the path without a queue.
func (m *Delay) empty() int64 { return m.base.least() }

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

// Queue returns the standing delay of this direction in ns, beyond what its
// jitter explains.
func (m *Delay) Queue(rtt int64, starting bool) (int64, bool) {
	stands, known := m.Stands(rtt, starting)
	return m.Beyond(stands), known
}

// Beyond returns what jitter does not explain of a delay.
func (m *Delay) Beyond(delay int64) int64 { return max(delay-m.Jitter, 0) }

// Stands returns the standing delay in ns. The least of the last samples counts:
// jitter, a retransmission or a late wake-up only add, and what TCP sends in
// bursts, once a round trip, does not stand.
func (m *Delay) Stands(rtt int64, starting bool) (int64, bool) {
	n := min(max(int(rtt/Every(rtt)), DelayLeast), len(m.recent))
	if m.Count < n {
		return 0, false
	}
	least, base := NoDelay, m.empty()
	for i := range n {
		least = min(least, m.ago(i))
		if starting && i == delayStart-1 && least-base > delaySteep {
			break
		}
	}
	return max(least-base, 0), true
}

// Fresh says that the last answer is not old.
func (m *Delay) Fresh(now int64) bool { return m.Count >= DelayLeast && now-m.Heard < delayFresh }

// Tells says that the answers go on; what they told when they ended may be true no longer.
// Of a full path they come a queue later.
func (m *Delay) Tells(now, rtt int64) bool {
	return m.Count > 0 && now-m.Heard < delayFresh+rtt
}

// Last returns the delay, in ns, that the last answer showed.
func (m *Delay) Last() int64 {
	return max(m.ago(0)-m.empty(), 0)
}

// Peak returns the longest delay, in ns, that the last answers showed: those of a
// tenth of a second while the path carries bulk.
func (m *Delay) Peak() int64 {
	most := m.empty()
	for i := range min(DelayLeast, m.Count) {
		most = max(most, m.ago(i))
	}
	return most - m.empty()
}

// Late returns how long the last acknowledgements were under way, but for the
// difference of the clocks; 0 if it is not known.
func (m *Delay) Late() int64 {
	if m.backs < delayStart {
		return 0
	}
	return min(m.back[0], m.back[1])
}
