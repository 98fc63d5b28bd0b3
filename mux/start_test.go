package mux

import "testing"

// A QUIC flow in a new session: neither path was ever full, TCP's windows say
// far more than they carry, and the round trips differ by little. What is in a
// path decides, or all of the flow moves from one to the other and back.
func TestOrderedIsSpreadEvenly(t *testing.T) {
	path := func(i int, rtt int64, flight int) candidate {
		return candidate{path: i, rtt: rtt, rate: 120 * mbit, proven: 45 * mbit, flight: flight, own: flight, room: 16384, bulk: true, open: true}
	}
	for _, c := range []struct {
		name string
		a, b candidate
		want int
	}{
		{"the nearer one is fuller", path(0, 20_400_000, 90_000), path(1, 20_500_000, 60_000), 1},
		{"the other one is", path(0, 20_400_000, 60_000), path(1, 20_500_000, 90_000), 0},
		{"a far path waits until the near one is full", path(0, 20e6, 90_000), path(1, 60e6, 0), 0},
		{"and takes what would wait longer", path(0, 20e6, 400_000), path(1, 60e6, 0), 1},
	} {
		cs := []candidate{c.a, c.b}
		if got := pickBulk(cs, 0b11, 1<<20, 0, true); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// A single packet goes at once, though the emptier path is a little farther.
func TestOrderedDoesNotWaitForItsLike(t *testing.T) {
	a := candidate{path: 0, rtt: 20_400_000, rate: 120 * mbit, proven: 45 * mbit, flight: 90_000, own: 90_000, room: 16384, bulk: true, open: true}
	b := a
	b.path, b.rtt, b.flight, b.own = 1, 20_500_000, 60_000, 60_000
	if got := pickBulk([]candidate{a, b}, 0b11, 1300, 0, true); got != 1 {
		t.Errorf("%d, want 1", got)
	}
}

// What a session in its first seconds gives two equal paths stays within a few
// packets of even, whatever TCP's windows say.
func TestOrderedInSimulation(t *testing.T) {
	cs := []candidate{
		{path: 0, rtt: 20_400_000, rate: 150 * mbit, proven: 45 * mbit, room: 1 << 20, bulk: true, open: true},
		{path: 1, rtt: 20_500_000, rate: 110 * mbit, proven: 45 * mbit, room: 1 << 20, bulk: true, open: true},
	}
	const packet, apart = 1300, 8 * 1300
	link := 48 * mbit
	const step = 100e3 // ns
	left := [2]float64{}
	for i := range 5000 {
		for range 4 { // more than both carry, until a window of 300 KB is out
			if cs[0].flight+cs[1].flight > 300_000 {
				break
			}
			if k := pickBulk(cs, 0b11, packet, 0, true); k != noSubflow {
				cs[k].flight += packet
				cs[k].own += packet
			}
		}
		for k := range cs {
			left[k] += min(link*step, float64(cs[k].flight))
			for left[k] >= packet && cs[k].flight >= packet {
				left[k] -= packet
				cs[k].flight -= packet
				cs[k].own -= packet
			}
		}
		if d := cs[0].flight - cs[1].flight; i > 100 && (d > apart || d < -apart) {
			t.Fatalf("after %d ms %d and %d bytes under way", i/10, cs[0].flight, cs[1].flight)
		}
	}
}

// TCP's own round trips tell of the first queue, for what was acknowledged has
// met it.
func TestSwell(t *testing.T) {
	const now = 10e9
	at := func(f func(*path)) *path {
		p := &path{rtt: 20e6, least: 45e6, busy: 2}
		for i := range int64(delayLeast) {
			p.delay.add(now-100e6+i*15e6, 10e6, 10e6)
		}
		p.delay.add(now, 20e6, 10e6)
		p.delay.jitter = 0
		f(p)
		return p
	}
	for _, c := range []struct {
		name string
		p    *path
		want int64
	}{
		{"a queue of 25 ms", at(func(*path) {}), 25e6},
		{"that may be jitter", at(func(p *path) { p.delay.jitter = 6e6 }), 0},
		{"on the way back", at(func(p *path) { p.delay.add(now, 20e6, 30e6); p.delay.add(now, 20e6, 30e6); p.delay.jitter = 0 }), 0},
		{"that is gone", at(func(p *path) { p.delay.add(now, 10e6, 10e6); p.delay.jitter = 0 }), 0},
		{"of a path that is known", at(func(p *path) { p.pacer.capacity, p.pacer.full = 1, now }), 0},
		{"on a path at rest", at(func(p *path) { p.busy = 0 }), 0},
	} {
		if got := c.p.swell(now); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// The first rate of a path: acknowledgements come in bursts, and what TCP
// overshoots by is bounded before the rate is known.
func TestFirstRate(t *testing.T) {
	const now = 10e9
	first := func(queue int64, met bool, through ...float64) *pacer {
		var p pacer
		for i, mb := range through {
			p.learn(now+int64(i)*22e6, queue, mb*mbit, met, true)
		}
		return &p
	}
	for _, c := range []struct {
		name      string
		p         *pacer
		low, high float64
	}{
		{"a burst is half of two", first(25e6, true, 50, 62), 56, 56},
		{"a gap proves nothing", first(25e6, true, 50, 10), 0, 0},
		{"nor what comes after it", first(25e6, true, 50, 10, 60), 0, 0},
		{"probes are ahead of what doubles", first(25e6, false, 10, 20, 40), 0, 0},
		{"until it does not", first(25e6, false, 10, 20, 40, 44), 44, 44},
	} {
		if got := c.p.known(now+100e6) / mbit; got < c.low-.01 || got > c.high+.01 {
			t.Errorf("%s: %.1f, want %.0f to %.0f Mbit/s", c.name, got, c.low, c.high)
		}
	}
	p := first(25e6, false, 10, 20)
	if r := p.update(now+50e6, 25e6, 25e6, 40e6, true); r != 30*mbit {
		t.Errorf("paced at %.1f Mbit/s when a queue came at 20", r/mbit)
	}
	if r := p.update(now+90e6, 0, 0, 40e6, true); r != 0 {
		t.Errorf("paced at %.1f Mbit/s when it was gone", r/mbit)
	}
}

// A path that stood still brings at once what it held back: no proof that it
// carries more than it was given.
func TestBurstIsNoProof(t *testing.T) {
	const now = 10e9
	p := pacer{capacity: 50 * mbit, full: now, first: now - 2*paceYoung, rate: 48 * mbit}
	p.learn(now+100e6, 5e6, 63*mbit, false, true)
	if got := p.known(now+100e6) / mbit; got > 52 {
		t.Errorf("believes that the path carries %.1f of 50 Mbit/s", got)
	}
}

// A pause of the machine is one large step, a radio's jitter many.
func TestPauseIsNoJitter(t *testing.T) {
	var m delayMeter
	for i := range int64(20) {
		m.add(i*15e6, 10e6+i%2*1e6, 0)
	}
	m.add(300e6, 85e6, 0)
	m.add(315e6, 10e6, 0)
	if m.jitter > 2e6 {
		t.Errorf("a pause of 75 ms makes %.1f ms of jitter", float64(m.jitter)/1e6)
	}
	for i := range int64(40) {
		m.add(330e6+i*15e6, 10e6+i%2*10e6, 0)
	}
	if m.jitter < 7e6 {
		t.Errorf("steps of 10 ms make %.1f ms of jitter", float64(m.jitter)/1e6)
	}
}

// What jitter may hide is no room for more.
func TestPaceStaysWithinJitter(t *testing.T) {
	const now = 10e9
	p := pacer{capacity: 50 * mbit, full: now, first: now - 2*paceYoung, rate: 50 * mbit, short: now}
	for i := range int64(20) {
		p.update(now+i*100e6, 0, 8e6, 30e6, true)
	}
	if p.rate > 51*mbit {
		t.Errorf("%.1f of 50 Mbit/s although 8 ms stand there", p.rate/mbit)
	}
}

// BBR stops for 200 ms when it has not seen a shorter round trip for 10 s, on
// thin subflows as well. It is begun anew before, where something is sent.
func TestRestRenewsBBR(t *testing.T) {
	p := &path{}
	s := &Session{}
	for _, bulk := range []bool{true, false} {
		s.subs = append(s.subs, &subflow{s: s, path: p, bulk: bulk, carrier: &carrier{}})
	}
	thin := s.subs[1]
	s.rest(p, 1e9)
	if thin.cc != ccRest || thin.ccAt != 1e9 {
		t.Fatalf("a thin subflow has %q since %d", thin.cc, thin.ccAt)
	}
	thin.lastSend = 2e9
	if s.rest(p, 5e9); thin.ccAt != 1e9 {
		t.Error("begun anew after 4 s")
	}
	if s.rest(p, 9.5e9); thin.ccAt != 9.5e9 {
		t.Error("not begun anew after 8.5 s")
	}
	if s.rest(p, 19e9); thin.ccAt != 9.5e9 {
		t.Error("begun anew although nothing was sent")
	}
}

// While nothing is known of a path, one loss that no queue explains counts; once its
// rate was seen it is judged by many.
func TestStrayLoss(t *testing.T) {
	p := &path{rtt: 20e6}
	now := int64(1e9)
	for range delayLeast {
		now += delayEvery
		p.delay.add(now, 10e6, 10e6)
	}
	if p.candidate(now).stray {
		t.Error("a stray loss without a loss")
	}
	p.delay.add(now, 40e6, 10e6)
	if p.judge.lost(now, p.delay.peak()); p.candidate(now).stray {
		t.Error("a queue of 30 ms may have lost it")
	}
	for range delayLeast {
		now += delayEvery
		p.delay.add(now, 12e6, 10e6)
	}
	p.judge.lost(now, p.delay.peak())
	if !p.candidate(now).stray {
		t.Error("nothing explains this one")
	}
	if p.candidate(now + lossMemory).stray {
		t.Error("not forgotten")
	}
	if p.seen = true; p.candidate(now).stray {
		t.Error("one loss counts though the rate was seen")
	}
}
