package engine

import (
	"math"
	"testing"

	"github.com/mpsocks/mpsocks/mux/gauge"
	"github.com/mpsocks/mpsocks/mux/sched"
)

// What fills the way back delays acknowledgements for a while; the rate of
// this direction does not follow them.
func TestRateIsThePeers(t *testing.T) {
	var p Path
	p.delay.Add(0, 10e6, 10e6)
	p.delay.Add(0, 10e6, 10e6)
	if got := p.there(100e6); got != 100e6 {
		t.Errorf("a first measurement over %d ms", got/1e6)
	}
	p.delay.Add(100e6, 10e6, 60e6)
	p.delay.Add(100e6, 10e6, 60e6)
	if got := p.there(100e6); got != 50e6 {
		t.Errorf("acknowledgements that are 50 ms later: 100 ms count as %d", got/1e6)
	}
	if got := p.there(100e6); got != 100e6 {
		t.Errorf("as late as before: 100 ms count as %d", got/1e6)
	}
}

// TCP's own round trips tell of the first queue, for what was acknowledged has
// met it.
func TestSwell(t *testing.T) {
	const now = 10e9
	at := func(f func(*Path)) *Path {
		p := &Path{rtt: 20e6, least: 45e6, busy: 2}
		for i := range int64(gauge.DelayLeast) {
			p.delay.Add(now-100e6+i*15e6, 10e6, 10e6)
		}
		p.delay.Add(now, 20e6, 10e6)
		p.delay.Jitter = 0
		f(p)
		return p
	}
	for _, c := range []struct {
		name string
		p    *Path
		want int64
	}{
		{"a queue of 25 ms", at(func(*Path) {}), 25e6},
		{"that may be jitter", at(func(p *Path) { p.delay.Jitter = 6e6 }), 0},
		{"on the way back", at(func(p *Path) { p.delay.Add(now, 20e6, 30e6); p.delay.Add(now, 20e6, 30e6); p.delay.Jitter = 0 }), 0},
		{"that is gone", at(func(p *Path) { p.delay.Add(now, 10e6, 10e6); p.delay.Jitter = 0 }), 0},
		{"of a path that is known", at(func(p *Path) { p.pacer.Capacity, p.pacer.Full = 1, now }), 0},
		{"on a path at rest", at(func(p *Path) { p.busy = 0 }), 0},
	} {
		if got := c.p.swell(now); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// BBR stops for 200 ms when it has not seen a shorter round trip for 10 s, on
// thin subflows as well. It is begun anew before, where something is sent. Within a machine
// nothing is asked for: BBR's timer would stay.
func TestRestRenewsBBR(t *testing.T) {
	p := &Path{rtt: 40e3}
	s := &Engine{}
	for _, bulk := range []bool{true, false} {
		p.subs = append(p.subs, &Subflow{path: p, bulk: bulk})
	}
	thin := p.subs[1]
	p.rest(s, 0)
	if thin.ccAsked != "" {
		t.Fatalf("a thin subflow of a near path has %q", thin.ccAsked)
	}
	p.rtt = 10e6
	p.rest(s, 1e9)
	if thin.ccAsked != ccRest || thin.ccAt != 1e9 {
		t.Fatalf("a thin subflow has %q since %d", thin.ccAsked, thin.ccAt)
	}
	thin.lastSend = 2e9
	if p.rest(s, 5e9); thin.ccAt != 1e9 {
		t.Error("begun anew after 4 s")
	}
	if p.rest(s, 9.5e9); thin.ccAt != 9.5e9 {
		t.Error("not begun anew after 8.5 s")
	}
	if p.rest(s, 19e9); thin.ccAt != 9.5e9 {
		t.Error("begun anew although nothing was sent")
	}
}

// While nothing is known of a path, one loss that no queue explains counts; once its
// rate was seen it is judged by many.
func TestStrayLoss(t *testing.T) {
	p := &Path{rtt: 20e6}
	now := int64(1e9)
	for range gauge.DelayLeast {
		now += gauge.DelayEvery
		p.delay.Add(now, 10e6, 10e6)
	}
	if p.candidate(now).Stray {
		t.Error("a stray loss without a loss")
	}
	p.delay.Add(now, 40e6, 10e6)
	if p.judge.Lost(now, p.delay.Peak()); p.candidate(now).Stray {
		t.Error("a queue of 30 ms may have lost it")
	}
	for range gauge.DelayLeast {
		now += gauge.DelayEvery
		p.delay.Add(now, 12e6, 10e6)
	}
	p.judge.Lost(now, p.delay.Peak())
	if !p.candidate(now).Stray {
		t.Error("nothing explains this one")
	}
	if p.candidate(now + gauge.LossMemory).Stray {
		t.Error("not forgotten")
	}
	if p.seen = true; p.candidate(now).Stray {
		t.Error("one loss counts though the rate was seen")
	}
}

// How often a path is asked: not at rest, six times at once when the session
// wakes, then by what it sends; a metered one stays at rest.
func TestAskDelay(t *testing.T) {
	p, m := &Path{}, &Path{cfg: PathConfig{Metered: true}}
	p.delay.Count, m.delay.Count = gauge.DelayLeast, gauge.DelayLeast
	f, g := &Subflow{path: p}, &Subflow{path: m}
	s := &Engine{roster: roster{paths: []*Path{p, m}, subs: []*Subflow{f, g}}, octets: 1}
	p.subs, m.subs = []*Subflow{f}, []*Subflow{g}
	now := int64(100e9)
	var other int
	run := func(for_ int64, octets uint64) (asked int) {
		for end := now + for_; now < end; now += 5e6 {
			s.octets += octets
			f.heard, g.heard, p.heard, m.heard = now, now, now, now
			stirs(s, now, 0)
			keep(s, p, now)
			keep(s, m, now)
			s.wakeDelay(now)
			p.askDelay(s, now)
			m.askDelay(s, now)
			if len(f.control) > 0 {
				asked++
				p.delay.Answered(now)
				p.delay.Add(now, 0, 0)
			}
			if len(g.control) > 0 {
				other++
			}
			f.control, g.control = nil, nil
		}
		return asked
	}
	s.octetsSeen = s.octets
	if n := run(40e9, 0); n != 0 {
		t.Errorf("at rest asked %d times in 40 s", n)
	}
	if n := run(10e9, 0) + run(5e6, 100); n != 0 {
		t.Errorf("a trickle had it asked %d times", n)
	}
	if n := run(200e6, 100); n != gauge.DelayLeast {
		t.Errorf("asked %d times when it woke", n)
	}
	if n := run(10e9, 1); n < 9 || n > 11 {
		t.Errorf("asked %d times in 10 s with little to send", n)
	}
	if n := run(10e9, 1000); n < 95 || n > 105 {
		t.Errorf("asked %d times in 10 s with more to send", n)
	}
	if other > 0 {
		t.Errorf("asked a metered path %d times in a minute", other)
	}
}

// A path that others lead, and that was never full, is tried with little before it has shown
// anything, then with twice as much as that, or four segments more where it is farther and brings
// little beside the lead. All of its subflows count together, and what goes by it beside the flow.
func TestLeeway(t *testing.T) {
	lead := &Path{rtt: 20e6, proven: 100 * mbit}
	for _, c := range []struct {
		what          string
		rtt           int64
		proven        float64
		flight, ready int
		want          int
	}{
		{"nothing shown", 20e6, 0, 0, 0, 28_960},
		{"nearer", 5e6, 0, 0, 0, sched.StartBytes},
		{"copies are under way", 20e6, 0, 20_000, 1000, 7960},
		{"and more of them", 20e6, 0, 60_000, 0, -31_040},
		{"it has shown 20 Mbit/s", 20e6, 20 * mbit, 0, 0, 100_000},
		{"and is farther", 40e6, 20 * mbit, 0, 0, 200_000},
		{"and brings little", 40e6, 16 * mbit, 0, 0, 85_792},
	} {
		p := &Path{rtt: c.rtt, proven: c.proven, flight: c.flight}
		p.subs = []*Subflow{{path: p, pendingSize: c.ready}, {path: p}}
		if got := p.leeway(lead); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
		if p.leeway(p) != math.MaxInt {
			t.Errorf("%s: bound as the lead", c.what)
		}
		if p.seen = true; p.leeway(lead) != math.MaxInt {
			t.Errorf("%s: bound though its rate is known", c.what)
		}
	}
}

// What an ordered flow gives in one go is bound by the leeway, by whichever subflow it goes.
func TestLeewayIsTaken(t *testing.T) {
	r := &chooser{cands: []sched.Candidate{{Path: 1, Open: true}, {Open: true}, {Path: 1, Open: true}}}
	r.leeway[0], r.leeway[1] = 3000, 3000
	r.take(1, 1500)
	if !r.cands[0].Open || !r.cands[2].Open {
		t.Error("closed with a half left")
	}
	if r.take(1, 1500); r.cands[0].Open || r.cands[2].Open || !r.cands[1].Open {
		t.Errorf("%+v", r.cands)
	}
}

// A subflow that got bulk a while ago has no share of the pace any more: that of a flow that has
// one subflow is all of it, though the rate is the same.
func TestPaceIsSharedByThoseThatCarry(t *testing.T) {
	e := New(true, ModeAuto, nil, 120e9)
	p := e.AddPath(PathConfig{}, -1)
	for range 3 {
		f := NewSubflow(nil, p, 0, 0)
		f.tx.valid, f.tx.minRTT, f.tx.srtt = true, 20e6, 20e6
		e.Attach(f, 0)
	}
	lane, other := p.subs[0], p.subs[1]
	lane.bulkAt, other.bulkAt, lane.lastSend = 1e9, 1e9, 1e9
	p.survey(1e9)
	p.pace(e, 10)
	last := func() (rate float64) {
		for _, o := range e.orders.Tune {
			if o.What == TunePace && o.Sub == lane {
				rate = o.Rate
			}
		}
		return rate
	}
	if got := last(); got != 5 {
		t.Errorf("of 10 a half goes to each of two, not %v", got)
	}
	lane.bulkAt, lane.lastSend = 13e8, 13e8
	p.survey(13e8)
	if p.pace(e, 10); last() != 10 {
		t.Errorf("%v for the one that carries all", last())
	}
	// The other one that is given some again shares at the next tick: the path is measured later, and would
	// be sent twice as much until then.
	other.bulkAt, p.ackedT = 135e7, 134e7
	if e.estimate(135e7); last() != 5 {
		t.Errorf("%v beside another one that carries some again", last())
	}
}

// A path with a weight that comes late, or comes back, gets its share and not all
// until it has caught up with what the other carried before.
func TestWeightOfALatePath(t *testing.T) {
	const rate = 5000 // bytes a millisecond
	a, b := &Path{cfg: PathConfig{Weight: 1}}, &Path{cfg: PathConfig{Weight: 1}}
	run := func(ms int64, both bool) (toA, toB float64) {
		for i := range ms {
			set := uint64(1)
			if both {
				set = 3
			}
			cs := []sched.Candidate{{Weight: 1, Share: a.share, Bulk: true, Room: 1e6}, {Path: 1, Weight: 1, Share: b.share, Bulk: true, Room: 1e6}}
			if sched.PickWeighted(cs, set) == 0 {
				a.share, toA = a.share+rate, toA+rate
			} else {
				b.share, toB = b.share+rate, toB+rate
			}
			if i%100 == 99 {
				a.fade(1e8)
				b.fade(1e8)
			}
		}
		return toA, toB
	}
	run(600_000, false)
	if a, b := run(3000, true); a < 0.1*b {
		t.Errorf("in the first three seconds %.0f and %.0f bytes", a, b)
	}
	if a, b := run(3000, true); a < 0.8*b || b < 0.8*a {
		t.Errorf("after that %.0f and %.0f bytes", a, b)
	}
}

// mbit is a megabit a second in bytes a nanosecond.
const mbit = 1e6 / 8 / 1e9
