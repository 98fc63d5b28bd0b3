package gauge

import (
	"testing"
)

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
	var p Pacer
	pace, delivered, worst := 0.0, 0.0, int64(0)
	for i := range 200 {
		through := b.step(pace, 80*mbit)
		p.Learn(int64(i)*100e6, b.delay(), 1e8, through, false, true)
		pace = p.Update(int64(i)*100e6, b.delay(), b.delay(), 20e6+b.delay(), true)
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
	var p Pacer
	p.Learn(0, 0, 1e8, 50*mbit, false, true)
	if r := p.Update(0, 0, 0, 20e6, true); r != 0 {
		t.Errorf("paced at %g although the path was never full", r)
	}
	p.Learn(1e9, 50e6, 1e8, 50*mbit, false, true)
	if r := p.Update(1e9, 50e6, 50e6, 70e6, true); r <= 0 || r >= 50*mbit {
		t.Errorf("paced at %g with a standing queue", r)
	}
	p.Learn(2e9, 0, 1e8, 10*mbit, false, false)
	if r := p.Update(2e9, 0, 0, 70e6, false); r <= 50*mbit || r > 60*mbit {
		t.Errorf("paced at %g while nothing waits", r)
	}
	if r := p.Update(2e9+fullMemory, 0, 0, 70e6, false); r != 0 {
		t.Errorf("paced at %g by what was long ago", r)
	}
}

// Beside a competitor that fills the queue the pacer yields so far and no
// further.
func TestPacerCompetes(t *testing.T) {
	var p Pacer
	through := 50 * mbit
	for i := range 300 {
		p.Learn(int64(i)*100e6, 80e6, 1e8, through, false, true)
		rate := p.Update(int64(i)*100e6, 80e6, 80e6, 100e6, true)
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
	var p Pacer
	now := int64(0)
	for _, through := range []float64{5 * mbit, 10 * mbit, 20 * mbit, 40 * mbit} {
		now += 20e6
		if p.Learn(now, 20e6, 1e8, through, false, true); p.Known(now) != 0 {
			t.Fatalf("knows %g while that doubles", p.Known(now)/mbit)
		}
	}
	for range 2 {
		now += 20e6
		p.Learn(now, 20e6, 1e8, 50*mbit, false, true)
	}
	if p.Known(now) < 48*mbit || p.Known(now) > 50*mbit {
		t.Errorf("learned %g of 50 Mbit/s", p.Known(now)/mbit)
	}
}

// Jitter looks like a queue. What the pace holds back for it is not taken for
// what the path carries, or each would lower the other.
func TestPacerIsNoProofOfItself(t *testing.T) {
	var p Pacer
	p.Learn(0, 0, 1e8, 50*mbit, false, true)
	p.Learn(1, 20e6, 1e8, 50*mbit, false, true)
	pace := p.Update(2, 20e6, 20e6, 20e6, true)
	for i := range 20 {
		now := int64(i+1) * 30e6
		p.Learn(now, 10e6, 1e8, min(pace, 50*mbit), false, true)
		pace = p.Update(now, 10e6, 10e6, 20e6, true)
	}
	if p.Capacity < 49*mbit {
		t.Errorf("believes that the path carries %.1f of 50 Mbit/s", p.Capacity/mbit)
	}
}

// Where nothing takes what the pace offers, it does not grow for ever.
func TestPaceIsBounded(t *testing.T) {
	var p Pacer
	p.Learn(0, 50e6, 1e8, 50*mbit, false, true)
	for i := range int64(200) {
		p.Learn(i*100e6, 0, 1e8, 10*mbit, false, true)
		if r := p.Update(i*100e6, 0, 0, 20e6, true); r > 2*50*mbit {
			t.Fatalf("a pace of %g Mbit/s on a path of 50", r/mbit)
		}
	}
}

// The first rate of a path: acknowledgements come in bursts, and what TCP
// overshoots by is bounded before the rate is known.
func TestFirstRate(t *testing.T) {
	const now = 10e9
	first := func(queue int64, met bool, through ...float64) *Pacer {
		var p Pacer
		for i, mb := range through {
			p.Learn(now+int64(i)*22e6, queue, 1e8, mb*mbit, met, true)
		}
		return &p
	}
	for _, c := range []struct {
		name      string
		p         *Pacer
		low, high float64
	}{
		{"a burst is half of two", first(25e6, true, 50, 62), 56, 56},
		{"a gap proves nothing", first(25e6, true, 50, 10), 0, 0},
		{"nor what comes after it", first(25e6, true, 50, 10, 60), 0, 0},
		{"probes are ahead of what doubles", first(25e6, false, 10, 20, 40), 0, 0},
		{"until it does not", first(25e6, false, 10, 20, 40, 44), 44, 44},
	} {
		if got := c.p.Known(now+100e6) / mbit; got < c.low-.01 || got > c.high+.01 {
			t.Errorf("%s: %.1f, want %.0f to %.0f Mbit/s", c.name, got, c.low, c.high)
		}
	}
	p := first(25e6, false, 10, 20)
	if r := p.Update(now+50e6, 25e6, 25e6, 40e6, true); r != 30*mbit {
		t.Errorf("paced at %.1f Mbit/s when a queue came at 20", r/mbit)
	}
	if r := p.Update(now+90e6, 0, 0, 40e6, true); r != 0 {
		t.Errorf("paced at %.1f Mbit/s when it was gone", r/mbit)
	}
}

// Where a measurement is long, a queue that one alone has seen may be a pause of the machine:
// a rate from it, in the middle of TCP's start, would be a fraction of the path's.
func TestPauseIsNoFirstRate(t *testing.T) {
	const now = 10e9
	var p Pacer
	for i, queue := range []int64{0, 0, 23e6, 0} {
		p.Learn(now+int64(i)*120e6, queue, 240e6, 1*mbit, false, true)
	}
	if got := p.Known(now + 480e6); got != 0 {
		t.Errorf("believes that the path carries %.1f Mbit/s", got/mbit)
	}
	for i := range int64(2) {
		p.Learn(now+600e6+i*120e6, 40e6, 240e6, 48*mbit, false, true)
	}
	if got := p.Known(now+800e6) / mbit; got < 47.9 {
		t.Errorf("believes that the path carries %.1f of 48 Mbit/s, which the queue shows twice", got)
	}
}

// A path that stood still brings at once what it held back: no proof that it
// carries more than it was given.
func TestBurstIsNoProof(t *testing.T) {
	const now = 10e9
	p := Pacer{Capacity: 50 * mbit, Full: now, first: now - 2*paceYoung, rate: 48 * mbit}
	p.Learn(now+100e6, 5e6, 1e8, 63*mbit, false, true)
	if got := p.Known(now+100e6) / mbit; got > 52 {
		t.Errorf("believes that the path carries %.1f of 50 Mbit/s", got)
	}
}

// What jitter may hide is no room for more.
func TestPaceStaysWithinJitter(t *testing.T) {
	const now = 10e9
	p := Pacer{Capacity: 50 * mbit, Full: now, first: now - 2*paceYoung, rate: 50 * mbit}
	for i := range int64(20) {
		p.Update(now+i*100e6, 0, 8e6, 30e6, true)
	}
	if p.rate > 51*mbit {
		t.Errorf("%.1f of 50 Mbit/s although 8 ms stand there", p.rate/mbit)
	}
}

// mbit is a megabit a second in bytes a nanosecond.
const mbit = 1e6 / 8 / 1e9

// wandering is a delay that goes up and down by itself, whatever is sent.
func wandering(i int) int64 {
	if i%4 < 2 {
		return 0
	}
	return 4e6 + int64(i%2)*5e6
}

// A delay that wanders is no queue: a pace that yielded to it, and so proved itself, is
// doubted, and what the path carries is found.
func TestPacerDoubtsItself(t *testing.T) {
	now, pace, rate := int64(0), 6*mbit, 50*mbit
	p := Pacer{Capacity: pace, Full: now, first: now - 2*paceYoung, rate: pace}
	for i := range 50 {
		now += 100e6
		queue := wandering(i)
		p.Learn(now, queue, 120e6, min(pace, rate), false, true)
		pace = p.Update(now, queue, queue, 20e6, true)
	}
	if known := p.Known(now); known < 0.9*rate {
		t.Errorf("after five seconds it is believed to carry %.1f of 50 Mbit/s", known/mbit)
	}
}

// What carries no more than is believed is left alone soon, whatever the delay does.
func TestPacerTriesInVain(t *testing.T) {
	now, rate := int64(0), 50*mbit
	p := Pacer{Capacity: rate, Full: now, first: now - 2*paceYoung, rate: rate}
	trials, was := 0, false
	for i := range 600 {
		now += 100e6
		queue := wandering(i)
		p.Learn(now, queue, 120e6, rate, false, true)
		p.Update(now, queue, queue, 20e6, true)
		if p.trial > 0 && !was {
			trials++
		}
		was = p.trial > 0
	}
	if trials == 0 || trials > 8 {
		t.Errorf("%d trials in a minute", trials)
	}
}

// A queue that neither leaves nor grows, however long it is yielded to, is none of ours: what
// is believed of the path does not sink, and the pace comes back to it.
func TestPacerYieldsOnceToWhatStays(t *testing.T) {
	for _, stays := range []int64{5e6, 7e6, 13e6} {
		now, rate := int64(0), 35*mbit
		p := Pacer{Capacity: rate, Full: now, first: now - 2*paceYoung, rate: rate}
		pace := rate
		for range 100 {
			now += 100e6
			p.Learn(now, stays, 120e6, min(pace, rate), false, true)
			pace = p.Update(now, stays, stays, 22e6, true)
		}
		if known := p.Known(now); known < 0.97*rate || pace < 0.97*rate {
			t.Errorf("%d ms: believed to carry %.1f of 35 Mbit/s after ten seconds, and paced at %.1f", stays/1e6, known/mbit, pace/mbit)
		}
		// What comes on top of it is ours.
		if p.Update(now+10e6, stays+10e6, stays+10e6, 22e6, true); p.rate >= rate {
			t.Errorf("%d ms: paced at %.1f although 10 ms more stand there", stays/1e6, p.rate/mbit)
		}
	}
}

// A long queue that leaves while it is yielded to is no competitor's, however long it takes.
func TestPacerWaitsForWhatLeaves(t *testing.T) {
	now, rate := int64(0), 50*mbit
	p := Pacer{Capacity: rate, Full: now, first: now - 2*paceYoung, rate: rate}
	for queue := 200e6; queue > PaceTarget; queue *= 0.96 {
		now += 100e6
		p.Learn(now, int64(queue), 120e6, rate, false, true)
		if pace := p.Update(now, int64(queue), int64(queue), 20e6, true); pace == 0 {
			t.Fatalf("it competes although %.0f of 200 ms have left in %.1f s", 200-queue/1e6, float64(now)/1e9)
		}
	}
}

// A queue that has only just become long, after a short one stood for a while, is yielded to.
func TestPacerYieldsToWhatGrew(t *testing.T) {
	now, rate := int64(0), 50*mbit
	p := Pacer{Capacity: rate, Full: now, first: now - 2*paceYoung, rate: 0.95 * rate}
	for range 10 {
		now += 90e6
		p.Update(now, 6e6, 6e6, 20e6, true)
	}
	now += 90e6
	if pace := p.Update(now, 40e6, 40e6, 20e6, true); pace == 0 {
		t.Error("it competes with a queue that is 90 ms old")
	}
}

// What was first believed is withdrawn when TCP goes on to double, so that it finds its window:
// a delay that wanders looked like a queue. A long queue or a loss says that it was right, and
// what has been believed for a while is another matter.
func TestFirstBeliefIsWithdrawn(t *testing.T) {
	const now = 10e9
	for _, c := range []struct {
		name  string
		queue int64
		lost  bool
		after int64
		want  bool
	}{
		{"it doubles, and the queue is gone", 0, false, 60e6, true},
		{"and some is there again", 9e6, false, 60e6, true},
		{"a long one stands", 25e6, false, 60e6, false},
		{"something was lost", 0, true, 60e6, false},
		{"it is believed for long", 0, false, paceYoung + 1e6, false},
	} {
		var p Pacer
		for i, mb := range []float64{8, 16, 17, 18} {
			p.Learn(now+int64(i)*20e6, 16e6, 70e6, mb*mbit, i > 1, true)
		}
		if got := p.Known(now+60e6) / mbit; got < 16 || got > 18 {
			t.Fatalf("%s: believes in %.1f of 50 Mbit/s at first", c.name, got)
		}
		at := now + 60e6 + c.after
		p.Update(at, 10e6, 12e6, 50e6, true)
		if c.lost {
			p.Lost(at)
		}
		p.Learn(at, c.queue, 70e6, 31*mbit, false, true)
		if got := p.Known(at) == 0; got != c.want {
			t.Errorf("%s: withdrawn %v, and believes in %.1f Mbit/s", c.name, got, p.Known(at)/mbit)
		}
		if r := p.Update(at, c.queue, c.queue, 50e6, true); c.want && r != 0 {
			t.Errorf("%s: still paced at %.1f Mbit/s", c.name, r/mbit)
		}
		if !c.want {
			continue
		}
		for i, mb := range []float64{43, 49, 49} {
			p.Learn(at+int64(i+1)*20e6, 30e6, 80e6, mb*mbit, true, true)
		}
		if got := p.Known(at+80e6) / mbit; got < 45 || got > 50 {
			t.Errorf("%s: then it believes in %.1f of 50 Mbit/s", c.name, got)
		}
	}
}

// So is one after which a queue comes again and again, although no more is sent than is
// believed: twice, as it may be right all the same. After a loss it is kept.
func TestFirstBeliefInAWander(t *testing.T) {
	for _, lost := range []bool{false, true} {
		var p Pacer
		now, withdrawn := int64(10e9), 0
		for i := range 60 {
			if p.Known(now) == 0 {
				for _, mb := range []float64{8, 16, 17, 18} {
					now += 20e6
					p.Learn(now, 16e6, 70e6, mb*mbit, mb > 16, true)
				}
				if p.Known(now) == 0 {
					t.Fatal("nothing is believed")
				}
				if lost {
					p.Lost(now)
				}
			}
			now += 100e6
			queue := wandering(i)
			pace := p.Update(now, queue, queue, 50e6, true)
			if p.Learn(now, queue, 150e6, min(pace, 50*mbit), false, true); p.Known(now) == 0 {
				withdrawn++
			}
		}
		if want := map[bool]int{false: 2, true: 0}[lost]; withdrawn != want {
			t.Errorf("lost %v: withdrawn %d times, want %d", lost, withdrawn, want)
		}
	}
}

// While nothing is known the pace leaves what TCP sends at first, whatever little came before:
// the kernel waits for as long as a bound tells it to when it gets it.
func TestStartIsNotHeldBack(t *testing.T) {
	const now = 10e9
	var p Pacer
	p.Learn(now, 20e6, 1e8, 0.003*mbit, false, true)
	if r := p.Update(now, 20e6, 20e6, 50e6, true); r < 4.6*mbit || r > 4.7*mbit {
		t.Errorf("paced at %.3f Mbit/s, want 20 segments in 50 ms", r/mbit)
	}
}

// A belief that has sunk, while what was lost came again, is not less than what was shown for
// long: where no queue stands the pace goes back to it in steps of a quarter. A queue that
// comes of it says that the path is another one now.
func TestPaceGoesBackToWhatWasShown(t *testing.T) {
	for _, carries := range []float64{50, 30} {
		now := int64(10e9)
		p := Pacer{Capacity: 50 * mbit, shown: 50 * mbit, Full: now, first: now - 2*paceYoung, rate: 50 * mbit}
		p.Capacity, p.rate = 30*mbit, 30*mbit
		queue, most, steps := int64(0), 0.0, 0
		for range 10 {
			now += 320e6
			pace := p.Update(now, queue, queue, 320e6, true)
			if most = max(most, pace); pace < 0.97*50*mbit && carries == 50 {
				steps++
			}
			queue = max(queue+int64((pace/(carries*mbit)-1)*320e6), 0)
			p.Learn(now, queue, 640e6, min(pace, carries*mbit), false, true)
		}
		switch {
		case carries == 50 && (steps > 5 || p.Known(now) < 45*mbit):
			t.Errorf("%d steps, and believed to carry %.1f of 50 Mbit/s", steps, p.Known(now)/mbit)
		case carries == 30 && (most > 38*mbit || p.rate > 33*mbit):
			t.Errorf("paced at up to %.1f Mbit/s, and %.1f at last, where 30 are carried", most/mbit, p.rate/mbit)
		}
	}
}

// A trial of which the path took a part, while the rest stands, is the last one: the next, with
// half as much again, filled the queue until it lost a call's packets with all their copies.
func TestTrialEndsWithWhatThePathTakes(t *testing.T) {
	for _, c := range []struct {
		name    string
		queue   int64
		through float64
		more    bool
	}{
		{"all of it", 11e6, 42.3 * mbit, true},
		{"all of it, and the delay wanders", 25e6, 42.3 * mbit, true},
		{"a part, and nothing stands", 11e6, 41.2 * mbit, true},
		{"a part, and the rest stands", 20e6, 41.2 * mbit, false},
	} {
		p := Pacer{Capacity: 38.4 * mbit, Full: 1, rate: 42.3 * mbit, check: 1, trial: 42.3 * mbit, more: 0.1, opened: 11e6}
		p.doubt(300e6, c.queue, 100e6, c.through, true)
		if p.Capacity < 41*mbit || p.trial > 0 != c.more {
			t.Errorf("%s: %.1f Mbit/s are believed, and %.1f tried", c.name, p.Capacity/mbit, p.trial/mbit)
		}
	}
}

// A trial in vain ends with the first measurement that shows a queue of it, and is as small as the way
// is short: a game beside it has that queue on its way.
func TestTrialInVainIsShort(t *testing.T) {
	const known = 57 * mbit
	for _, srtt := range []int64{20e6, 300e6} {
		p := Pacer{Capacity: known, Full: 1, first: 1, rate: known, check: 1, odd: 10, queue: 4e6}
		now, window := int64(2e9), int64(100e6)+srtt
		p.Learn(now, 5e6, window, known, false, true)
		if p.trial == 0 || (p.trial/known-1)*float64(window) > max(7e6, trialQueue*float64(srtt)/300e6)*1.01 {
			t.Fatalf("round trip %d ms: %.1f Mbit/s are tried", srtt/1e6, p.trial/mbit)
		}
		now += window
		p.Learn(now, p.opened+trialGrew+1e6, window, known, false, true)
		if p.trial > 0 {
			t.Errorf("round trip %d ms: the path took nothing of it, a queue stands, and it goes on", srtt/1e6)
		}
	}
	p := Pacer{Capacity: known, Full: 1, first: 1, rate: known, trial: 1.1 * known, more: 0.1, begun: 1, opened: 5e6}
	if p.Update(100e6, 16e6, 16e6, 20e6, true); p.trial > 0 {
		t.Error("10 ms of queue are there, and it goes on")
	}
}

// A path that carries a little less than is believed has a queue that stands where the pace is
// what it carries. That is ours: it leaves when the pace dips, and what is believed is less.
func TestPacerFindsThatAPathCarriesLess(t *testing.T) {
	for _, less := range []float64{0.96, 0.93, 0.89} {
		now, rate := int64(0), 50*mbit
		p := Pacer{Capacity: rate, Full: now, first: now - 2*paceYoung, rate: rate}
		b := bottleneck{rate: less * rate}
		pace, told, through := rate, [2]int64{}, 0.0
		for i := range 500 { // every 10 ms, of which each tenth is a measurement
			now += 10e6
			in := pace
			before := b.queue
			b.queue = max(before+(in-b.rate)*10e6, 0)
			through += min(b.rate, in+before/10e6) / 10
			queue := told[0]
			told[0], told[1] = told[1], b.delay()
			if i%10 == 9 {
				p.Learn(now, queue, 120e6, through, false, true)
				through = 0
			}
			pace = p.Update(now, queue, queue, 20e6, true)
		}
		if queue := b.delay(); queue > 2*PaceTarget {
			t.Errorf("%.2f of what is believed: %d ms stand there after five seconds", less, queue/1e6)
		}
		if known := p.Known(now) / rate; known > less*1.03 || known < less*0.97 {
			t.Errorf("%.2f of what is believed: %.2f after five seconds", less, known)
		}
	}
}
