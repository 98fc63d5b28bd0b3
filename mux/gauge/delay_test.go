package gauge

import "testing"

// Clocks that are apart do not matter, and a late answer only adds.
func TestDelayMeter(t *testing.T) {
	var m Delay
	if _, ok := m.Queue(20e6, false); ok {
		t.Error("an answer before anything was measured")
	}
	const apart = -7e15
	for i, d := range []int64{10e6, 12e6, 11e6, 30e6, 31e6, 90e6, 30e6, 44e6, 32e6} {
		m.Add(int64(i)*40e6, apart+d, d)
	}
	if q, ok := m.Queue(20e6, false); !ok || q != 20e6-m.Jitter {
		t.Errorf("queue %d with a jitter of %d, %v", q, m.Jitter, ok)
	}
	for i := range int64(64) {
		m.Add(500e6+i*5e6, apart+30e6+i%2*1e6, 0)
	}
	if q, _ := m.Queue(20e6, false); q < 18e6 || q > 20e6 {
		t.Errorf("a steady queue of 20 ms is taken for %d", q)
	}
	// A radio whose delay swings about says nothing about a queue.
	for i := range int64(64) {
		m.Add(900e6+i*1e6, apart+16e6+i%2*8e6, 0)
	}
	if q, _ := m.Queue(20e6, false); q != 0 {
		t.Errorf("a jitter of 8 ms is taken for a queue of %d", q)
	}
	// A path whose delay changed for good: the base follows in two windows.
	for i := range int64(2000) {
		m.Add(1e9+i*40e6, apart+60e6, 0)
	}
	if q, _ := m.Queue(20e6, false); q != 0 {
		t.Errorf("queue %d after the path became longer", q)
	}
}

// A pause of the machine is one large step, a radio's jitter many.
func TestPauseIsNoJitter(t *testing.T) {
	var m Delay
	for i := range int64(20) {
		m.Add(i*15e6, 10e6+i%2*1e6, 0)
	}
	m.Add(300e6, 85e6, 0)
	m.Add(315e6, 10e6, 0)
	if m.Jitter > 2e6 {
		t.Errorf("a pause of 75 ms makes %.1f ms of jitter", float64(m.Jitter)/1e6)
	}
	for i := range int64(40) {
		m.Add(330e6+i*15e6, 10e6+i%2*10e6, 0)
	}
	if m.Jitter < 7e6 {
		t.Errorf("steps of 10 ms make %.1f ms of jitter", float64(m.Jitter)/1e6)
	}
}

// A question without an answer says how long the queue is at least.
func TestDelayOverdue(t *testing.T) {
	var m Delay
	const rtt = 20e6
	m.Ask(1e9, 0)
	for _, c := range []struct{ at, want int64 }{{1e9 + rtt, 0}, {1e9 + rtt + delaySlack, 0}, {1e9 + rtt + 50e6, 50e6}} {
		if got := m.Overdue(c.at, rtt); got != c.want {
			t.Errorf("%d ns after the question: %d, want %d", c.at-1e9, got, c.want)
		}
	}
	m.Ask(1e9+15e6, 0)
	m.Answered(1e9)
	m.Add(1e9+100e6, 90e6, 10e6)
	if got := m.Overdue(1e9+110e6, rtt); got != 0 {
		t.Errorf("%d although an answer just came", got)
	}
	if got := m.Overdue(1e9+300e6, rtt); got != 300e6-15e6-rtt {
		t.Errorf("%d for the second question", got)
	}
	m.Answered(1e9 + 15e6)
	m.Add(1e9+310e6, 90e6, 10e6)
	if got := m.Overdue(1e9+900e6, rtt); got != 0 {
		t.Errorf("%d with every question answered", got)
	}
	m.Ask(5e9, 0)
	if got := m.Overdue(9e9, rtt); got != 0 {
		t.Errorf("%d for a question that nobody asks any more", got)
	}
}

// The queues there and back are told apart, and what is old counts no more.
func TestDelayBeside(t *testing.T) {
	var m Delay
	m.Add(1e9, 10e6, 10e6)
	m.Add(1.1e9, 10e6, 10e6)
	if there, back := m.Beside(1.1e9), m.Returning(1.1e9); there != 0 || back != 0 {
		t.Errorf("queues of %d and %d in an empty path", there, back)
	}
	m.Add(1.2e9, 210e6, 10e6) // one late answer is none
	if there := m.Beside(1.2e9); there != 0 {
		t.Errorf("queue %d after one late answer", there)
	}
	m.Add(1.3e9, 210e6, 110e6)
	m.Add(1.4e9, 210e6, 110e6)
	if there, back := m.Beside(1.4e9), m.Returning(1.4e9); there != 200e6-m.Jitter || back != 100e6 {
		t.Errorf("queues of %d and %d, want %d and 100 ms", there, back, 200*int64(1e6)-m.Jitter)
	}
	if there, back := m.Beside(4e9), m.Returning(4e9); there != 0 || back != 0 {
		t.Errorf("queues of %d and %d long after", there, back)
	}
}

// A question that bulk was in the way of tells of the way back alone, and answers that have
// ended tell nothing of now.
func TestDelayBlunt(t *testing.T) {
	var m Delay
	for i := range int64(8) {
		m.Ask(i*15e6, 0)
		m.Took(i*15e6, i*15e6+20e6, 10e6, 10e6)
	}
	last := m.Heard
	if !m.Tells(last, 20e6) || m.Tells(last+delayFresh+20e6, 20e6) {
		t.Error("it is not known whether the answers go on")
	}
	for i := range int64(2) {
		asked := last + 200e6 + i*100e6
		m.Ask(asked, 0)
		m.Blunt()
		m.Took(asked, asked+70e6, 50e6, 30e6)
	}
	now := last + 400e6
	if queue, _ := m.Stands(20e6, false); queue != 0 || m.Heard != last {
		t.Errorf("a queue of %d ns there, seen through our own", queue)
	}
	if back := m.Returning(now); back != 20e6 {
		t.Errorf("%d ns in the way back, want 20 ms", back)
	}
}

// However long a round trip is, what stands is judged by the questions of one, and these are not more
// than tell something.
func TestQuestionsOfARoundTrip(t *testing.T) {
	for _, c := range []struct{ rtt, every, asked int64 }{
		{20e6, DelayEvery, DelayLeast},
		{150e6, DelayEvery, 10},
		{240e6, DelayEvery, 16},
		{600e6, 37.5e6, 16},
		{2e9, 125e6, 16},
	} {
		if got := Every(c.rtt); got != c.every {
			t.Errorf("%d ms: one each %d ns, want %d", c.rtt/1e6, got, c.every)
		}
		var m Delay
		for i := range c.asked {
			if _, known := m.Stands(c.rtt, false); known {
				t.Errorf("%d ms: %d answers say what stands, want %d", c.rtt/1e6, i, c.asked)
				break
			}
			m.Add(int64(i)*c.every, 5e6, 5e6)
		}
		if _, known := m.Stands(c.rtt, false); !known {
			t.Errorf("%d ms: %d answers do not say what stands", c.rtt/1e6, c.asked)
		}
	}
}
