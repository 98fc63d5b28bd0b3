package mux

import "testing"

// How often a path is asked: seldom at rest, six times at once when the session
// wakes, then by what it sends; a metered one stays at rest.
func TestAskDelay(t *testing.T) {
	p, m := &path{}, &path{cfg: Path{Metered: true}}
	p.delay.count, m.delay.count = delayLeast, delayLeast
	f, g := &subflow{path: p}, &subflow{path: m}
	s := &Session{paths: []*path{p, m}, subs: []*subflow{f, g}, octets: 1}
	now := int64(100e9)
	var other int
	run := func(for_ int64, octets uint64) (asked int) {
		for end := now + for_; now < end; now += 5e6 {
			s.octets += octets
			s.wakeDelay(now)
			s.askDelay(p, now)
			s.askDelay(m, now)
			if len(f.control) > 0 {
				asked++
				p.delay.answered(now)
				p.delay.add(now, 0, 0)
			}
			if len(g.control) > 0 {
				other++
			}
			f.control, g.control = nil, nil
		}
		return asked
	}
	s.octetsSeen = s.octets
	if n := run(40e9, 0); n < 3 || n > 5 {
		t.Errorf("at rest asked %d times in 40 s", n)
	}
	if n := run(100e6, 1); n != delayLeast {
		t.Errorf("asked %d times when it woke", n)
	}
	if n := run(10e9, 1); n < 9 || n > 11 {
		t.Errorf("asked %d times in 10 s with little to send", n)
	}
	if n := run(10e9, 1000); n < 95 || n > 105 {
		t.Errorf("asked %d times in 10 s with more to send", n)
	}
	if other > 8 {
		t.Errorf("asked a metered path %d times in a minute", other)
	}
}

// A question without an answer says how long the queue is at least.
func TestDelayOverdue(t *testing.T) {
	var m delayMeter
	const rtt = 20e6
	m.ask(1e9, 0)
	for _, c := range []struct{ at, want int64 }{{1e9 + rtt, 0}, {1e9 + rtt + delaySlack, 0}, {1e9 + rtt + 50e6, 50e6}} {
		if got := m.overdue(c.at, rtt); got != c.want {
			t.Errorf("%d ns after the question: %d, want %d", c.at-1e9, got, c.want)
		}
	}
	m.ask(1e9+15e6, 0)
	m.answered(1e9)
	m.add(1e9+100e6, 90e6, 10e6)
	if got := m.overdue(1e9+110e6, rtt); got != 0 {
		t.Errorf("%d although an answer just came", got)
	}
	if got := m.overdue(1e9+300e6, rtt); got != 300e6-15e6-rtt {
		t.Errorf("%d for the second question", got)
	}
	m.answered(1e9 + 15e6)
	m.add(1e9+310e6, 90e6, 10e6)
	if got := m.overdue(1e9+900e6, rtt); got != 0 {
		t.Errorf("%d with every question answered", got)
	}
	m.ask(5e9, 0)
	if got := m.overdue(9e9, rtt); got != 0 {
		t.Errorf("%d for a question that nobody asks any more", got)
	}
}

// The queues there and back are told apart, and what is old counts no more.
func TestDelayBeside(t *testing.T) {
	var m delayMeter
	m.add(1e9, 10e6, 10e6)
	m.add(1.1e9, 10e6, 10e6)
	if there, back := m.beside(1.1e9), m.returning(1.1e9); there != 0 || back != 0 {
		t.Errorf("queues of %d and %d in an empty path", there, back)
	}
	m.add(1.2e9, 210e6, 10e6) // one late answer is none
	if there := m.beside(1.2e9); there != 0 {
		t.Errorf("queue %d after one late answer", there)
	}
	m.add(1.3e9, 210e6, 110e6)
	m.add(1.4e9, 210e6, 110e6)
	if there, back := m.beside(1.4e9), m.returning(1.4e9); there != 200e6-m.jitter || back != 100e6 {
		t.Errorf("queues of %d and %d, want %d and 100 ms", there, back, 200*int64(1e6)-m.jitter)
	}
	if there, back := m.beside(4e9), m.returning(4e9); there != 0 || back != 0 {
		t.Errorf("queues of %d and %d long after", there, back)
	}
}
