package mux

import "testing"

func TestUsable(t *testing.T) {
	up := candidate{}
	for _, c := range []struct {
		name    string
		cs      []candidate
		metered bool
		want    uint64
	}{
		{"all alike", []candidate{up, up}, false, 0b11},
		{"backup waits", []candidate{up, {backup: true}}, false, 0b01},
		{"backup alone", []candidate{{backup: true}}, false, 0b1},
		{"backup before stale", []candidate{{stale: true}, {backup: true}}, false, 0b10},
		{"metered waits", []candidate{{metered: true}, up}, false, 0b10},
		{"metered allowed", []candidate{{metered: true}, up}, true, 0b11},
		{"metered needed", []candidate{{metered: true}, {stale: true}}, false, 0b01},
		{"backup before metered", []candidate{{metered: true}, {backup: true}}, false, 0b10},
		{"all stale", []candidate{{stale: true}, {stale: true}}, false, 0b11},
		{"capped never", []candidate{{closed: true}, {stale: true, backup: true}}, true, 0b10},
		{"nothing", nil, true, 0},
	} {
		if got := usable(c.cs, c.metered); got != c.want {
			t.Errorf("%s: %b, want %b", c.name, got, c.want)
		}
	}
}

// 1 Mbit/s in bytes a nanosecond.
const mbit = 1e6 / 8 / 1e9

func TestPickBulk(t *testing.T) {
	fast := candidate{path: 0, rtt: 20e6, rate: 60 * mbit, room: 16384, bulk: true, seen: true}
	slow := candidate{path: 1, rtt: 50e6, rate: 40 * mbit, room: 16384, bulk: true, seen: true}
	blocked := func(c candidate) candidate { c.room = 0; c.queued = 16384; return c }
	with := func(c candidate, f func(*candidate)) candidate { f(&c); return c }
	for _, c := range []struct {
		name    string
		cs      []candidate
		backlog int
		waited  int64
		ordered bool
		want    int
	}{
		{"fast first", []candidate{slow, fast}, 1500, 0, false, 1},
		{"small backlog waits for the fast one", []candidate{blocked(fast), slow}, 3000, 0, false, noSubflow},
		{"long waiting spills over", []candidate{blocked(fast), slow}, 3000, 16e6, false, 1},
		{"large backlog spills over", []candidate{blocked(fast), slow}, 300_000, 0, false, 1},
		{"equal paths fill both", []candidate{blocked(fast), with(fast, func(c *candidate) { c.path = 1 })}, 1500, 0, false, 1},
		{"same path needs no waiting", []candidate{blocked(fast), with(slow, func(c *candidate) { c.path = 0 })}, 0, 0, false, 1},
		{"a queue spills over before it is as long as the way", []candidate{with(fast, func(c *candidate) { c.flight = int(26e6 * c.rate) }), slow}, 300_000, 0, false, 1},
		{"but not where order counts", []candidate{with(fast, func(c *candidate) { c.flight = int(26e6 * c.rate) }), slow}, 300_000, 0, true, 0},
		{"where order counts the way that is shorter now", []candidate{with(fast, func(c *candidate) { c.swing = 8e6 }), with(fast, func(c *candidate) { c.path, c.flight = 1, 40000 })}, 300_000, 0, true, 1},
		{"and what is our own there counts once", []candidate{with(fast, func(c *candidate) { c.swing, c.flight = 10e6, int(30e6*c.rate) }), slow}, 300_000, 0, true, 0},
		{"bulk takes it", []candidate{blocked(fast), with(slow, func(c *candidate) { c.rtt = 320e6 })}, 8 << 20, 0, false, 1},
		{"unknown rate does not wait", []candidate{with(blocked(fast), func(c *candidate) { c.rate = 0 }), slow}, 0, 0, false, 1},
		{"subflows of a path share the bytes", []candidate{with(fast, func(c *candidate) { c.own = 30000 }), fast}, 0, 0, false, 1},
		{"all blocked", []candidate{blocked(fast), blocked(slow)}, 1 << 20, 0, false, noSubflow},
		{"thin ones carry no bulk", []candidate{with(fast, func(c *candidate) { c.bulk = false })}, 1 << 20, 0, false, noSubflow},
		{
			"weights", []candidate{
				with(fast, func(c *candidate) { c.weight, c.share = 1, 5000 }),
				with(slow, func(c *candidate) { c.weight, c.share = 3, 9000 }),
			}, 0, 0, false, 1,
		},
	} {
		if got := pickBulk(c.cs, usable(c.cs, false), c.backlog, c.waited, c.ordered); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// A flow that wants order stays where it is: on the lane, and while bulk is in
// its way there on one thin subflow, whatever becomes of the others.
func TestPickSteady(t *testing.T) {
	thin := candidate{rtt: 20e6, queue: -1, room: 1500}
	lane, second := thin, thin
	lane.bulk, second.bulk = true, true
	cs := []candidate{thin, lane, second, thin, thin}
	all := uint64(1<<len(cs) - 1)
	for home := range uint32(7) {
		if i := pickSteady(cs, all, 1200, home); i != 1 {
			t.Errorf("home %d: on %d instead of the lane", home, i)
		}
	}
	cs[1].ahead, cs[2].ahead = lowatTime, lowatTime
	for home, want := range []int{0, 3, 3, 3, 4, 0} {
		if i := pickSteady(cs, all, 1200, uint32(home)); i != want {
			t.Errorf("home %d beside bulk: on %d instead of %d", home, i, want)
		}
	}
	cs[0].suspect = true
	if i := pickSteady(cs, all, 1200, 3); i != 3 {
		t.Errorf("moved to %d when another stalled", i)
	}
	if i := pickSteady(cs, 0, 1200, 3); i != noSubflow {
		t.Errorf("%d of no subflow", i)
	}
}

// What wants order leaves a path that has lately lost something, unless the others
// are later by more than a loss costs.
func TestPickSteadyLeavesLoss(t *testing.T) {
	frail := candidate{path: 0, rtt: 20e6, queue: -1, room: 1500, frail: true}
	for _, c := range []struct {
		name  string
		other candidate
		want  int
	}{
		{"another path is as good", candidate{path: 1, rtt: 20e6, queue: -1, room: 1500}, 1},
		{"another path is a little later", candidate{path: 1, rtt: 50e6, queue: -1, room: 1500}, 1},
		{"another path is much later", candidate{path: 1, rtt: 80e6, queue: -1, room: 1500}, 0},
		{"another path lost something as well", candidate{path: 1, rtt: 30e6, queue: -1, room: 1500, frail: true}, 0},
		{"another path has no room", candidate{path: 1, rtt: 20e6, queue: -1}, 0},
	} {
		if got := pickSteady([]candidate{frail, c.other}, 0b11, 1200, 0); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// Where TCP still finds its window, a flow that wants order takes the emptiest
// subflow of the path while it is small, and then the first with room.
func TestLanesAtTheStart(t *testing.T) {
	thin := candidate{rtt: 20e6, queue: -1, room: 16384, open: true}
	lane, second := thin, thin
	lane.bulk, second.bulk = true, true
	cs := []candidate{lane, second, thin}
	cs[0].own, cs[1].own = 12000, 3000
	all := uint64(1<<len(cs) - 1)
	if i := pickSteady(cs, all, 1200, 0); i != 2 {
		t.Errorf("small: on %d, want the emptiest", i)
	}
	if got := lanes(cs, all); got != 0b001 {
		t.Errorf("lanes %b while there is room", got)
	}
	cs[0].open = false
	if got := lanes(cs, all); got != 0b010 {
		t.Errorf("lanes %b when the window of the first is full", got)
	}
	cs[1].open = false
	if got := lanes(cs, all); got != 0b001 {
		t.Errorf("lanes %b when all windows are", got)
	}
	if i := pickBulk(cs, 0b001, 1<<20, 0, true); i != noSubflow {
		t.Errorf("%d was given more than its window", i)
	}
	if i := pickBulk(cs, 0b001, 1<<20, 0, false); i != 0 {
		t.Errorf("bulk without order waits for the window: %d", i)
	}
	cs[0].seen = true
	if i := pickBulk(cs, 0b001, 1<<20, 0, true); i != 0 {
		t.Errorf("%d on a path that is known", i)
	}
}

// A path that others lead, and that was never full, is tried with a little more
// than it has shown.
func TestWindow(t *testing.T) {
	f := &subflow{path: &path{rtt: 20e6}}
	f.tx.cwnd = 200_000
	for _, c := range []struct {
		lead bool
		rate float64
		want int
	}{{true, 0, 200_000}, {false, 0, startBytes}, {false, 20 * mbit, 75_000}, {false, 100 * mbit, 200_000}} {
		f.tx.rate = c.rate
		if got := f.window(c.lead); got != c.want {
			t.Errorf("lead %v, %g Mbit/s: %d, want %d", c.lead, c.rate/mbit, got, c.want)
		}
	}
}

func TestSuspects(t *testing.T) {
	near := candidate{path: 0, rtt: 20e6, queue: -1, room: 1500}
	far := candidate{path: 1, rtt: 50e6, queue: -1, room: 1500}
	stalled := near
	stalled.suspect, stalled.doubt = true, 40e6
	congested := far
	congested.extra = 200e6
	for _, c := range []struct {
		name string
		cs   []candidate
		want int
	}{
		{"another path is not much later", []candidate{stalled, far}, 1},
		{"another path is later than a stall lasts", []candidate{stalled, congested}, 0},
		{"a neighbour moves", []candidate{stalled, near, far}, 1},
		{"all are", []candidate{stalled, stalled}, 0},
	} {
		if got := pickSmall(c.cs, 1<<len(c.cs)-1, 200, 0); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestTogether(t *testing.T) {
	fast := candidate{path: 0, rtt: 20e6, rate: 60 * mbit, bulk: true, seen: true}
	with := func(f func(*candidate)) candidate { c := fast; c.path = 1; f(&c); return c }
	for _, c := range []struct {
		name string
		cs   []candidate
		want uint64
	}{
		{"alike", []candidate{fast, with(func(*candidate) {})}, 0b11},
		{"one subflow of each path", []candidate{fast, fast, with(func(*candidate) {}), with(func(*candidate) {})}, 0b0101},
		{"a lane is a bulk subflow", []candidate{with(func(c *candidate) { c.bulk = false }), with(func(*candidate) {})}, 0b10},
		{"one path loses packets", []candidate{fast, with(func(c *candidate) { c.lossy = true })}, 0b01},
		{"one path may", []candidate{fast, with(func(c *candidate) { c.stray, c.seen = true, false })}, 0b01},
		{"the near one may", []candidate{
			with(func(c *candidate) { c.path, c.stray, c.seen = 0, true, false }),
			with(func(c *candidate) { c.rtt = 50e6 }),
		}, 0b11},
		{"both may", []candidate{
			with(func(c *candidate) { c.path, c.stray, c.seen = 0, true, false }),
			with(func(c *candidate) { c.stray, c.seen = true, false }),
		}, 0b11},
		{"and the other one is too thin to do without", []candidate{fast, with(func(c *candidate) { c.lossy, c.rate = true, 150*mbit })}, 0b10},
		{"both lose packets, the near one does", []candidate{
			with(func(c *candidate) { c.path, c.lossy, c.rtt, c.rate = 0, true, 50e6, 70*mbit }),
			with(func(c *candidate) { c.lossy = true }),
		}, 0b10},
		{"both lose packets, the near one is thin", []candidate{
			with(func(c *candidate) { c.path, c.lossy, c.rate = 0, true, 20*mbit }),
			with(func(c *candidate) { c.lossy, c.rtt = true, 50e6 }),
		}, 0b10},
		{"too far", []candidate{fast, with(func(c *candidate) { c.rtt = 320e6 })}, 0b01},
		{"too thin", []candidate{fast, with(func(c *candidate) { c.rate = 10 * mbit })}, 0b01},
		{"a quarter is worth it", []candidate{fast, with(func(c *candidate) { c.rate = 15 * mbit })}, 0b11},
		{"not known to be thin", []candidate{fast, with(func(c *candidate) { c.rate, c.seen = 10*mbit, false })}, 0b11},
		{"the near one is thin, the other far", []candidate{with(func(c *candidate) { c.path, c.rate = 0, mbit }), with(func(c *candidate) { c.rtt = 320e6 })}, 0b10},
		{"thin beside what has proven more", []candidate{
			with(func(c *candidate) { c.path, c.seen, c.proven = 0, false, 50*mbit }),
			with(func(c *candidate) { c.rate = 10 * mbit }),
		}, 0b01},
		{"a competitor fills it", []candidate{fast, with(func(c *candidate) { c.extra = 100e6 })}, 0b01},
		{"and the way back", []candidate{fast, with(func(c *candidate) { c.back = 100e6 })}, 0b01},
		{"nothing", nil, 0},
	} {
		if got := together(c.cs, 1<<len(c.cs)-1); got != c.want {
			t.Errorf("%s: %b, want %b", c.name, got, c.want)
		}
	}
}

// A small packet goes where it arrives first: bulk that a path's other subflows
// have not sent yet is not in its way, a queue in the network is.
func TestPickSmallByTheMeasuredQueue(t *testing.T) {
	near := candidate{path: 0, rtt: 20e6, rate: 5 * mbit, flight: 100_000, room: 1500}
	far := candidate{path: 1, rtt: 50e6, queue: -1, room: 1500}
	if i := pickSmall([]candidate{near, far}, 0b11, 200, 0); i != 0 {
		t.Errorf("the empty near path was left for %d", i)
	}
	near.queue = 40e6
	if i := pickSmall([]candidate{near, far}, 0b11, 200, 0); i != 1 {
		t.Errorf("behind 40 ms of queue: %d", i)
	}
	near.queue = -1
	if i := pickSmall([]candidate{near, far}, 0b11, 200, 0); i != 1 {
		t.Errorf("bytes in flight beyond a round trip, queue not known: %d", i)
	}
	near.queue = 0
	loaded := near
	loaded.bulk, loaded.ahead = true, lowatTime
	for turn := range uint32(4) {
		if i := pickSmall([]candidate{loaded, near}, 0b11, 200, turn); i != 1 {
			t.Errorf("turn %d behind the bulk of its own subflow", turn)
		}
	}
}

// Small flows take turns over the good subflows of the best path.
func TestPickSmallTurns(t *testing.T) {
	cs := []candidate{
		{path: 0, rtt: 20e6, room: 1},
		{path: 1, rtt: 50e6, room: 1},
		{path: 0, rtt: 21e6, room: 1},
		{path: 0, rtt: 20e6, room: 1, suspect: true},
		{path: 0, rtt: 20e6, room: 0},
		{path: 0, rtt: 40e6, room: 1},
	}
	seen := make(map[int]int)
	for turn := range uint32(100) {
		seen[pickSmall(cs, usable(cs, false), 200, turn)]++
	}
	if len(seen) != 2 || seen[0] != 50 || seen[2] != 50 {
		t.Errorf("chosen %v, want 0 and 2 in turn", seen)
	}
	for i := range cs {
		cs[i].suspect = true
	}
	if got := pickSmall(cs, usable(cs, false), 200, 0); got != 0 {
		t.Errorf("all suspect: %d, want the best one all the same", got)
	}
	if got := pickSmall(nil, 0, 200, 0); got != noSubflow {
		t.Errorf("no subflows: %d", got)
	}
}

func TestPickCopy(t *testing.T) {
	cs := []candidate{{path: 0, rtt: 20e6, room: 1}, {path: 0, rtt: 20e6, room: 1}, {path: 1, rtt: 50e6, room: 1}}
	set := usable(cs, false)
	if got := pickCopy(cs, set, 1<<0, 200, 0, false); got != 2 {
		t.Errorf("other path: %d, want 2", got)
	}
	if got := pickCopy(cs, set, 1<<0|1<<2, 200, 0, true); got != 1 {
		t.Errorf("same path: %d, want 1", got)
	}
	if got := pickCopy(cs, set, 0b111, 200, 0, true); got != noSubflow {
		t.Errorf("all carry it: %d", got)
	}
	cs[2].stale = true
	if got := pickCopy(cs, set, 1<<0, 200, 0, false); got != noSubflow {
		t.Errorf("other path is stale: %d", got)
	}
}

func BenchmarkPickSmall(b *testing.B) {
	cs := make([]candidate, 12)
	for i := range cs {
		cs[i] = candidate{path: i / 6, rtt: int64(20e6 + i/6*30e6), rate: 50 * mbit, room: 16384, bulk: i%6 < 2}
	}
	set := usable(cs, false)
	var turn uint32
	for b.Loop() {
		turn++
		pickSmall(cs, set, 200, turn)
	}
}

func BenchmarkPickBulk(b *testing.B) {
	cs := make([]candidate, 12)
	for i := range cs {
		cs[i] = candidate{path: i / 6, rtt: int64(20e6 + i/6*30e6), rate: 50 * mbit, room: 16384, bulk: i%6 < 2}
	}
	set := usable(cs, false)
	for b.Loop() {
		pickBulk(cs, set, 100_000, 0, false)
	}
}

// A small flow stays where it is while that is about as good as the best, and
// leaves a subflow that may be stalled, is full, or is farther by now.
func TestSettled(t *testing.T) {
	cs := []candidate{{rtt: 20e6, room: 1e5}, {rtt: 21e6, room: 1e5}}
	for _, c := range []struct {
		name   string
		change func(c *candidate)
		want   int
	}{
		{"as good", func(*candidate) {}, 1},
		{"suspect", func(c *candidate) { c.suspect = true }, 0},
		{"full", func(c *candidate) { c.room = 0 }, 0},
		{"farther", func(c *candidate) { c.rtt = 40e6 }, 0},
	} {
		now := append([]candidate(nil), cs...)
		c.change(&now[1])
		if got := settled(now, 3, quantum, 0, 1); got != c.want {
			t.Errorf("%s: on %d, want %d", c.name, got, c.want)
		}
	}
	if got := settled(cs, 1, quantum, 0, 1); got != 0 {
		t.Errorf("on %d, which it may not use", got)
	}
	if got := settled(cs, 3, quantum, 0, noSubflow); got != 0 {
		t.Errorf("a new flow is on %d, not on the best", got)
	}
}
