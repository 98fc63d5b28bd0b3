package mux

import "testing"

// A bottleneck of the given rate with a queue, fed at the pace. It advances by
// whole decisions of 100 ms.
type bottleneck struct {
	rate  float64 // bytes a nanosecond
	queue float64 // bytes
	other float64 // what a competitor keeps in the queue
}

func (b *bottleneck) step(pace, offered float64) (through float64) {
	in := offered
	if pace > 0 {
		in = min(in, pace)
	}
	before := b.queue
	b.queue = max(before+(in-b.rate)*1e8, 0)
	b.queue = min(b.queue, b.rate*100e6) // 100 ms drop-tail
	return min(b.rate, in+before/1e8)
}

func (b *bottleneck) delay() int64 { return int64((b.queue + b.other) / b.rate) }

// The pacer holds the queue near its target and the path busy.
func TestPacerHoldsTheQueueShort(t *testing.T) {
	b := bottleneck{rate: 50 * mbit}
	var p pacer
	pace, delivered, worst := 0.0, 0.0, int64(0)
	for i := range 200 {
		through := b.step(pace, 80*mbit)
		p.learn(int64(i)*100e6, b.delay(), through, false, true)
		pace = p.update(int64(i)*100e6, b.delay(), b.delay(), 20e6+b.delay(), true)
		if i >= 100 {
			delivered += through
			worst = max(worst, b.delay())
		}
	}
	if share := delivered / 100 / b.rate; share < 0.97 {
		t.Errorf("the path carries %.3f of what it can", share)
	}
	if worst > 25e6 {
		t.Errorf("the queue stands at up to %d ms", worst/1e6)
	}
}

// What is not limited is paced just above what the path carries, as long as
// that is known.
func TestPacerLeavesRoom(t *testing.T) {
	var p pacer
	p.learn(0, 0, 50*mbit, false, true)
	if r := p.update(0, 0, 0, 20e6, true); r != 0 {
		t.Errorf("paced at %g although the path was never full", r)
	}
	p.learn(1e9, 50e6, 50*mbit, false, true)
	if r := p.update(1e9, 50e6, 50e6, 70e6, true); r <= 0 || r >= 50*mbit {
		t.Errorf("paced at %g with a standing queue", r)
	}
	p.learn(2e9, 0, 10*mbit, false, false)
	if r := p.update(2e9, 0, 0, 70e6, false); r <= 50*mbit || r > 60*mbit {
		t.Errorf("paced at %g while nothing waits", r)
	}
	if r := p.update(2e9+fullMemory, 0, 0, 70e6, false); r != 0 {
		t.Errorf("paced at %g by what was long ago", r)
	}
}

// Beside a competitor that fills the queue the pacer yields so far and no
// further.
func TestPacerCompetes(t *testing.T) {
	var p pacer
	through := 50 * mbit
	for i := range 300 {
		p.learn(int64(i)*100e6, 80e6, through, false, true)
		rate := p.update(int64(i)*100e6, 80e6, 80e6, 100e6, true)
		if i > 10 && rate == 0 {
			if through < 0.4*50*mbit {
				t.Errorf("yielded to %.2f of the path first", through/(50*mbit))
			}
			return
		}
		if rate > 0 {
			through = min(through, rate)
		}
	}
	t.Error("it never competes")
}

// While TCP finds its window a queue is no proof that the path is full; when
// what arrives grows no more, it is what the path carries.
func TestPacerWaitsForTheWindow(t *testing.T) {
	var p pacer
	now := int64(0)
	for _, through := range []float64{5 * mbit, 10 * mbit, 20 * mbit, 40 * mbit} {
		now += 20e6
		if p.learn(now, 20e6, through, false, true); p.known(now) != 0 {
			t.Fatalf("knows %g while that doubles", p.known(now)/mbit)
		}
	}
	for range 2 {
		now += 20e6
		p.learn(now, 20e6, 50*mbit, false, true)
	}
	if p.known(now) < 48*mbit || p.known(now) > 50*mbit {
		t.Errorf("learned %g of 50 Mbit/s", p.known(now)/mbit)
	}
}

// Jitter looks like a queue. What the pace holds back for it is not taken for
// what the path carries, or each would lower the other.
func TestPacerIsNoProofOfItself(t *testing.T) {
	var p pacer
	p.learn(0, 0, 50*mbit, false, true)
	p.learn(1, 20e6, 50*mbit, false, true)
	pace := p.update(2, 20e6, 20e6, 20e6, true)
	for i := range 20 {
		now := int64(i+1) * 30e6
		p.learn(now, 10e6, min(pace, 50*mbit), false, true)
		pace = p.update(now, 10e6, 10e6, 20e6, true)
	}
	if p.capacity < 49*mbit {
		t.Errorf("believes that the path carries %.1f of 50 Mbit/s", p.capacity/mbit)
	}
}

// What fills the way back delays acknowledgements for a while; the rate of
// this direction does not follow them.
func TestRateIsThePeers(t *testing.T) {
	var p path
	p.delay.add(0, 10e6, 10e6)
	p.delay.add(0, 10e6, 10e6)
	if got := p.there(100e6); got != 100e6 {
		t.Errorf("a first measurement over %d ms", got/1e6)
	}
	p.delay.add(100e6, 10e6, 60e6)
	p.delay.add(100e6, 10e6, 60e6)
	if got := p.there(100e6); got != 50e6 {
		t.Errorf("acknowledgements that are 50 ms later: 100 ms count as %d", got/1e6)
	}
	if got := p.there(100e6); got != 100e6 {
		t.Errorf("as late as before: 100 ms count as %d", got/1e6)
	}
}

func TestLossJudge(t *testing.T) {
	for _, c := range []struct {
		name          string
		queue         int64
		segs, retrans uint64
		want          bool
	}{
		{"clean", 2e6, 400, 0, false},
		{"random loss", 2e6, 400, 4, true},
		{"loss of a full queue", 40e6, 400, 8, false},
		{"too few to say", 2e6, 40, 1, false},
	} {
		var l lossJudge
		got := false
		for i := range int64(6) {
			got = l.note(i*100e6, c.queue, c.segs, c.retrans)
		}
		if got != c.want {
			t.Errorf("%s: lossy %v", c.name, got)
		}
		if got && l.note(lossyForget+1e9, c.queue, 0, 0) {
			t.Errorf("%s: never forgotten", c.name)
		}
	}
	// What slow start overshot by is lost at once, and says nothing.
	var l lossJudge
	for i := range int64(20) {
		lost := uint64(0)
		if i == 3 {
			lost = 60
		}
		if l.note(i*100e6, 2e6, 600, lost) {
			t.Errorf("one burst of loss makes a path lossy")
		}
	}
}

// CUBIC is driven out when there is room and it does not take it.
func TestCubicDrivenOut(t *testing.T) {
	for _, c := range []struct {
		name          string
		queue         int64
		through, pace float64
		limited, want bool
	}{
		{"half of the pace, and nothing in the way", 1e6, 50 * mbit, 100 * mbit, true, true},
		{"the path is full", 20e6, 50 * mbit, 100 * mbit, true, false},
		{"there is no more to send", 1e6, 50 * mbit, 100 * mbit, false, false},
		{"all that the pace lets pass", 1e6, 97 * mbit, 100 * mbit, true, false},
		{"not paced", 1e6, 50 * mbit, 0, true, false},
	} {
		var l lossJudge
		got := false
		for i := range int64(lossySure) {
			if got {
				t.Errorf("%s: after %d measurements", c.name, i)
			}
			got = l.yields(i*100e6, c.queue, c.through, c.pace, c.limited)
		}
		if got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if l.yields(lossyForget+1e9, 0, 0, 0, false) {
			t.Errorf("%s: never forgotten", c.name)
		}
	}
}

// Where nothing takes what the pace offers, it does not grow for ever.
func TestPaceIsBounded(t *testing.T) {
	var p pacer
	p.learn(0, 50e6, 50*mbit, false, true)
	for i := range int64(200) {
		p.learn(i*100e6, 0, 10*mbit, false, true)
		if r := p.update(i*100e6, 0, 0, 20e6, true); r > 2*50*mbit {
			t.Fatalf("a pace of %g Mbit/s on a path of 50", r/mbit)
		}
	}
}

// Clocks that are apart do not matter, and a late answer only adds.
func TestDelayMeter(t *testing.T) {
	var m delayMeter
	if _, ok := m.queue(20e6, false); ok {
		t.Error("an answer before anything was measured")
	}
	const apart = -7e15
	for i, d := range []int64{10e6, 12e6, 11e6, 30e6, 31e6, 90e6, 30e6, 44e6, 32e6} {
		m.add(int64(i)*40e6, apart+d, d)
	}
	if q, ok := m.queue(20e6, false); !ok || q != 20e6-m.jitter {
		t.Errorf("queue %d with a jitter of %d, %v", q, m.jitter, ok)
	}
	for i := range int64(64) {
		m.add(500e6+i*5e6, apart+30e6+i%2*1e6, 0)
	}
	if q, _ := m.queue(20e6, false); q < 18e6 || q > 20e6 {
		t.Errorf("a steady queue of 20 ms is taken for %d", q)
	}
	// A radio whose delay swings about says nothing about a queue.
	for i := range int64(64) {
		m.add(900e6+i*1e6, apart+16e6+i%2*8e6, 0)
	}
	if q, _ := m.queue(20e6, false); q != 0 {
		t.Errorf("a jitter of 8 ms is taken for a queue of %d", q)
	}
	// A path whose delay changed for good: the base follows in two windows.
	for i := range int64(2000) {
		m.add(1e9+i*40e6, apart+60e6, 0)
	}
	if q, _ := m.queue(20e6, false); q != 0 {
		t.Errorf("queue %d after the path became longer", q)
	}
}

func TestSeesQUIC(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload []byte
		want    bool
	}{
		{"initial, version 1", []byte{0xC3, 0, 0, 0, 1, 8, 1}, true},
		{"version 2", []byte{0xD3, 0x6b, 0x33, 0x43, 0xcf, 8, 1}, true},
		{"draft 29", []byte{0xC3, 0xff, 0, 0, 29, 8, 1}, true},
		{"short header alone", []byte{0x43, 0, 0, 0, 1, 8, 1}, false},
		{"other protocol", []byte{0xC3, 1, 2, 3, 4, 5, 6}, false},
		{"RTP", []byte{0x80, 0x60, 0, 1, 0, 0, 0}, false},
		{"short", []byte{0xC3, 0, 0, 0, 1}, false},
		{"empty", nil, false},
	} {
		var b behaviour
		if b.see(c.payload); b.quic != c.want {
			t.Errorf("%s: %v", c.name, b.quic)
		}
	}
}
