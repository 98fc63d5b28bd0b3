package sched

import (
	"testing"

	"github.com/mpsocks/mpsocks/mux/fq"
)

func TestUsable(t *testing.T) {
	up := Candidate{}
	for _, c := range []struct {
		name    string
		cs      []Candidate
		metered bool
		want    uint64
	}{
		{"all alike", []Candidate{up, up}, false, 0b11},
		{"backup waits", []Candidate{up, {Backup: true}}, false, 0b01},
		{"backup alone", []Candidate{{Backup: true}}, false, 0b1},
		{"backup before stale", []Candidate{{Stale: true}, {Backup: true}}, false, 0b10},
		{"metered waits", []Candidate{{Metered: true}, up}, false, 0b10},
		{"metered allowed", []Candidate{{Metered: true}, up}, true, 0b11},
		{"metered needed", []Candidate{{Metered: true}, {Stale: true}}, false, 0b01},
		{"backup before metered", []Candidate{{Metered: true}, {Backup: true}}, false, 0b10},
		{"all stale", []Candidate{{Stale: true}, {Stale: true}}, false, 0b11},
		{"capped never", []Candidate{{Closed: true}, {Stale: true, Backup: true}}, true, 0b10},
		{"nothing", nil, true, 0},
	} {
		if got := Usable(c.cs, c.metered); got != c.want {
			t.Errorf("%s: %b, want %b", c.name, got, c.want)
		}
	}
}

// 1 Mbit/s in bytes a nanosecond.
const mbit = 1e6 / 8 / 1e9

func TestPickBulk(t *testing.T) {
	fast := Candidate{Path: 0, RTT: 20e6, Rate: 60 * mbit, Room: 16384, Bulk: true, Seen: true}
	slow := Candidate{Path: 1, RTT: 50e6, Rate: 40 * mbit, Room: 16384, Bulk: true, Seen: true}
	blocked := func(c Candidate) Candidate { c.Room = 0; c.Queued = 16384; return c }
	with := func(c Candidate, f func(*Candidate)) Candidate { f(&c); return c }
	for _, c := range []struct {
		name    string
		cs      []Candidate
		backlog int
		waited  int64
		ordered bool
		want    int
	}{
		{"fast first", []Candidate{slow, fast}, 1500, 0, false, 1},
		{"small backlog waits for the fast one", []Candidate{blocked(fast), slow}, 3000, 0, false, NoSubflow},
		{"long waiting spills over", []Candidate{blocked(fast), slow}, 3000, 16e6, false, 1},
		{"large backlog spills over", []Candidate{blocked(fast), slow}, 300_000, 0, false, 1},
		{"equal paths fill both", []Candidate{blocked(fast), with(fast, func(c *Candidate) { c.Path = 1 })}, 1500, 0, false, 1},
		{"same path needs no waiting", []Candidate{blocked(fast), with(slow, func(c *Candidate) { c.Path = 0 })}, 0, 0, false, 1},
		{"a queue spills over before it is as long as the way", []Candidate{with(fast, func(c *Candidate) { c.Flight = int(26e6 * c.Rate) }), slow}, 300_000, 0, false, 1},
		{"but not where order counts", []Candidate{with(fast, func(c *Candidate) { c.Flight = int(26e6 * c.Rate) }), slow}, 300_000, 0, true, 0},
		{"where order counts the way that is shorter now", []Candidate{with(fast, func(c *Candidate) { c.Swing = 8e6 }), with(fast, func(c *Candidate) { c.Path, c.Flight = 1, 40000 })}, 300_000, 0, true, 1},
		{"and what is our own there counts once", []Candidate{with(fast, func(c *Candidate) { c.Swing, c.Flight = 10e6, int(30e6*c.Rate) }), slow}, 300_000, 0, true, 0},
		{"bulk takes it", []Candidate{blocked(fast), with(slow, func(c *Candidate) { c.RTT = 320e6 })}, 8 << 20, 0, false, 1},
		{"unknown rate does not wait", []Candidate{with(blocked(fast), func(c *Candidate) { c.Rate = 0 }), slow}, 0, 0, false, 1},
		{"subflows of a path share the bytes", []Candidate{with(fast, func(c *Candidate) { c.Own = 30000 }), fast}, 0, 0, false, 1},
		{"all blocked", []Candidate{blocked(fast), blocked(slow)}, 1 << 20, 0, false, NoSubflow},
		{"thin ones carry no bulk", []Candidate{with(fast, func(c *Candidate) { c.Bulk = false })}, 1 << 20, 0, false, NoSubflow},
		{
			"weights", []Candidate{
				with(fast, func(c *Candidate) { c.Weight, c.Share = 1, 5000 }),
				with(slow, func(c *Candidate) { c.Weight, c.Share = 3, 9000 }),
			}, 0, 0, false, 1,
		},
	} {
		if got := PickBulk(c.cs, Usable(c.cs, false), c.backlog, c.waited, c.ordered); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// A stream takes turns on ways that end on this machine.
func TestWithin(t *testing.T) {
	near := Candidate{Path: 0, RTT: 8e3, Rate: 1, Room: 16384, Own: 256 << 10, Bulk: true}
	with := func(c Candidate, f func(*Candidate)) Candidate { f(&c); return c }
	other := with(near, func(c *Candidate) { c.Path, c.RTT, c.Own = 1, 12e3, 0 })
	for _, c := range []struct {
		name   string
		chosen Candidate
		other  Candidate
		want   int
	}{
		{"the emptier path", near, other, 1},
		{"a path with two subflows for bulk", near, with(other, func(c *Candidate) { c.Path = 0 }), NoSubflow},
		{"as empty", near, with(other, func(c *Candidate) { c.Own = near.Own }), 0},
		{"little emptier", near, with(other, func(c *Candidate) { c.Own = near.Own - 100e3 }), 0},
		{"full", near, with(other, func(c *Candidate) { c.Room = 0 }), 0},
		{"thin", near, with(other, func(c *Candidate) { c.Bulk = false }), 0},
		{"farther", near, with(other, func(c *Candidate) { c.RTT = 200e3 }), 0},
		{"not measured", near, with(other, func(c *Candidate) { c.RTT = 0 }), 0},
		{"the chosen one is not", with(near, func(c *Candidate) { c.RTT = 0 }), other, NoSubflow},
		{"the chosen one is farther", with(near, func(c *Candidate) { c.RTT = 200e3 }), other, NoSubflow},
		{"weights", near, with(other, func(c *Candidate) { c.Weight = 1 }), NoSubflow},
	} {
		if got := Within([]Candidate{c.chosen, c.other}, 0b11, 0); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if got := Within([]Candidate{near, other}, 0b01, 0); got != 0 {
		t.Error("a subflow that may not be used is taken")
	}
}

// A flow that wants order stays where it is: on the lane, and while bulk is in
// its way there on one thin subflow, whatever becomes of the others.
func TestPickSteady(t *testing.T) {
	thin := Candidate{RTT: 20e6, Queue: -1, Room: 1500}
	lane, second := thin, thin
	lane.Bulk, second.Bulk = true, true
	cs := []Candidate{thin, lane, second, thin, thin}
	all := uint64(1<<len(cs) - 1)
	for home := range uint32(7) {
		if i := PickSteady(cs, all, 1200, home); i != 1 {
			t.Errorf("home %d: on %d instead of the lane", home, i)
		}
	}
	cs[1].Ahead, cs[2].Ahead = 4e6, 4e6
	for home, want := range []int{0, 3, 3, 3, 4, 0} {
		if i := PickSteady(cs, all, 1200, uint32(home)); i != want {
			t.Errorf("home %d beside bulk: on %d instead of %d", home, i, want)
		}
	}
	cs[0].Suspect = true
	if i := PickSteady(cs, all, 1200, 3); i != 3 {
		t.Errorf("moved to %d when another stalled", i)
	}
	if i := PickSteady(cs, 0, 1200, 3); i != NoSubflow {
		t.Errorf("%d of no subflow", i)
	}
}

// What wants order leaves a path that has lately lost something, unless the others
// are later by more than a loss costs.
func TestPickSteadyLeavesLoss(t *testing.T) {
	frail := Candidate{Path: 0, RTT: 20e6, Queue: -1, Room: 1500, Frail: true}
	for _, c := range []struct {
		name  string
		other Candidate
		want  int
	}{
		{"another path is as good", Candidate{Path: 1, RTT: 20e6, Queue: -1, Room: 1500}, 1},
		{"another path is a little later", Candidate{Path: 1, RTT: 50e6, Queue: -1, Room: 1500}, 1},
		{"another path is much later", Candidate{Path: 1, RTT: 80e6, Queue: -1, Room: 1500}, 0},
		{"another path lost something as well", Candidate{Path: 1, RTT: 30e6, Queue: -1, Room: 1500, Frail: true}, 0},
		{"another path has no room", Candidate{Path: 1, RTT: 20e6, Queue: -1}, 0},
	} {
		if got := PickSteady([]Candidate{frail, c.other}, 0b11, 1200, 0); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// Where TCP still finds its window, a flow that wants order takes the emptiest
// subflow of the path while it is small, and then the first with room.
func TestLanesAtTheStart(t *testing.T) {
	thin := Candidate{RTT: 20e6, Queue: -1, Room: 16384, Open: true}
	lane, second := thin, thin
	lane.Bulk, second.Bulk = true, true
	cs := []Candidate{lane, second, thin}
	cs[0].Own, cs[1].Own = 12000, 3000
	all := uint64(1<<len(cs) - 1)
	if i := PickSteady(cs, all, 1200, 0); i != 2 {
		t.Errorf("small: on %d, want the emptiest", i)
	}
	if got := Lanes(cs, all); got != 0b001 {
		t.Errorf("lanes %b while there is room", got)
	}
	cs[0].Open = false
	if got := Lanes(cs, all); got != 0b010 {
		t.Errorf("lanes %b when the window of the first is full", got)
	}
	cs[1].Open = false
	if got := Lanes(cs, all); got != 0b001 {
		t.Errorf("lanes %b when all windows are", got)
	}
	if i := PickBulk(cs, 0b001, 1<<20, 0, true); i != NoSubflow {
		t.Errorf("%d was given more than its window", i)
	}
	if i := PickBulk(cs, 0b001, 1<<20, 0, false); i != 0 {
		t.Errorf("bulk without order waits for the window: %d", i)
	}
	cs[0].Seen = true
	if i := PickBulk(cs, 0b001, 1<<20, 0, true); i != 0 {
		t.Errorf("%d on a path that is known", i)
	}
}

// Where one subflow of a path carries bulk, the other one takes of what wants order what the window of
// the first does not, as long as TCP finds it there: not of what wants none, not once the path is
// known, and no more than leaves at once.
func TestLaneThatHelps(t *testing.T) {
	lane := Candidate{RTT: 20e6, Queue: -1, Room: 16384, Rate: 10 * mbit, Bulk: true}
	helps := lane
	helps.Bulk, helps.Helps, helps.Open = false, true, true
	with := func(c Candidate, f func(*Candidate)) Candidate { f(&c); return c }
	for _, c := range []struct {
		name        string
		lane, helps Candidate
		ordered     bool
		want        int
	}{
		{"the window of the lane is full", lane, helps, true, 1},
		{"it has room", with(lane, func(c *Candidate) { c.Open = true }), helps, true, 0},
		{"order is not wanted", lane, helps, false, 0},
		{"the path is known", with(lane, func(c *Candidate) { c.Seen = true }), with(helps, func(c *Candidate) { c.Seen, c.Helps = true, false }), true, 0},
		{"both windows are full", lane, with(helps, func(c *Candidate) { c.Open = false }), true, NoSubflow},
		{"the other one takes nothing", lane, with(helps, func(c *Candidate) { c.Room = 0 }), true, NoSubflow},
		{"or may be stalled", lane, with(helps, func(c *Candidate) { c.Suspect = true }), true, NoSubflow},
	} {
		cs := []Candidate{c.lane, c.helps}
		set := uint64(0b11)
		if c.ordered {
			set = Together(cs, set)
		}
		if got := PickBulk(cs, set, 1<<20, 0, c.ordered); got != c.want {
			t.Errorf("%s: on %d, want %d", c.name, got, c.want)
		}
	}
}

func TestSuspects(t *testing.T) {
	near := Candidate{Path: 0, RTT: 20e6, Queue: -1, Room: 1500}
	far := Candidate{Path: 1, RTT: 50e6, Queue: -1, Room: 1500}
	stalled := near
	stalled.Suspect, stalled.Doubt = true, 40e6
	congested := far
	congested.Extra = 200e6
	for _, c := range []struct {
		name string
		cs   []Candidate
		want int
	}{
		{"another path is not much later", []Candidate{stalled, far}, 1},
		{"another path is later than a stall lasts", []Candidate{stalled, congested}, 0},
		{"a neighbour moves", []Candidate{stalled, near, far}, 1},
		{"all are", []Candidate{stalled, stalled}, 0},
	} {
		if got := PickSmall(c.cs, 1<<len(c.cs)-1, 200, 0); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestTogether(t *testing.T) {
	fast := Candidate{Path: 0, RTT: 20e6, Rate: 60 * mbit, Bulk: true, Seen: true}
	with := func(f func(*Candidate)) Candidate { c := fast; c.Path = 1; f(&c); return c }
	for _, c := range []struct {
		name string
		cs   []Candidate
		want uint64
	}{
		{"alike", []Candidate{fast, with(func(*Candidate) {})}, 0b11},
		{"one subflow of each path", []Candidate{fast, fast, with(func(*Candidate) {}), with(func(*Candidate) {})}, 0b0101},
		{"a lane is a bulk subflow", []Candidate{with(func(c *Candidate) { c.Bulk = false }), with(func(*Candidate) {})}, 0b10},
		{"one path loses packets", []Candidate{fast, with(func(c *Candidate) { c.Lossy = true })}, 0b01},
		{"one path may", []Candidate{fast, with(func(c *Candidate) { c.Stray, c.Seen = true, false })}, 0b01},
		{"the near one may", []Candidate{
			with(func(c *Candidate) { c.Path, c.Stray, c.Seen = 0, true, false }),
			with(func(c *Candidate) { c.RTT = 50e6 }),
		}, 0b11},
		{"both may", []Candidate{
			with(func(c *Candidate) { c.Path, c.Stray, c.Seen = 0, true, false }),
			with(func(c *Candidate) { c.Stray, c.Seen = true, false }),
		}, 0b11},
		{"and the other one is too thin to do without", []Candidate{fast, with(func(c *Candidate) { c.Lossy, c.Rate = true, 150*mbit })}, 0b10},
		{"both lose packets, the near one does", []Candidate{
			with(func(c *Candidate) { c.Path, c.Lossy, c.RTT, c.Rate = 0, true, 50e6, 70*mbit }),
			with(func(c *Candidate) { c.Lossy = true }),
		}, 0b10},
		{"both lose packets, the near one is thin", []Candidate{
			with(func(c *Candidate) { c.Path, c.Lossy, c.Rate = 0, true, 20*mbit }),
			with(func(c *Candidate) { c.Lossy, c.RTT = true, 50e6 }),
		}, 0b10},
		{"too far", []Candidate{fast, with(func(c *Candidate) { c.RTT = 320e6 })}, 0b01},
		{"too thin", []Candidate{fast, with(func(c *Candidate) { c.Rate = 5 * mbit })}, 0b01},
		{"a sixth is worth it", []Candidate{fast, with(func(c *Candidate) { c.Rate = 10 * mbit })}, 0b11},
		{"not known to be thin", []Candidate{fast, with(func(c *Candidate) { c.Rate, c.Seen = 10*mbit, false })}, 0b11},
		{"the near one is thin, the other far", []Candidate{with(func(c *Candidate) { c.Path, c.Rate = 0, mbit }), with(func(c *Candidate) { c.RTT = 320e6 })}, 0b10},
		{"thin beside what has proven more", []Candidate{
			with(func(c *Candidate) { c.Path, c.Seen, c.Proven = 0, false, 50*mbit }),
			with(func(c *Candidate) { c.Rate = 5 * mbit }),
		}, 0b01},
		{"a competitor fills it", []Candidate{fast, with(func(c *Candidate) { c.Extra = 100e6 })}, 0b01},
		{"and the way back", []Candidate{fast, with(func(c *Candidate) { c.Back = 100e6 })}, 0b01},
		{"nothing", nil, 0},
	} {
		if got := Together(c.cs, 1<<len(c.cs)-1); got != c.want {
			t.Errorf("%s: %b, want %b", c.name, got, c.want)
		}
	}
}

// A small packet goes where it arrives first: bulk that a path's other subflows
// have not sent yet is not in its way, a queue in the network is.
func TestPickSmallByTheMeasuredQueue(t *testing.T) {
	near := Candidate{Path: 0, RTT: 20e6, Rate: 5 * mbit, Flight: 100_000, Room: 1500}
	far := Candidate{Path: 1, RTT: 50e6, Queue: -1, Room: 1500}
	if i := PickSmall([]Candidate{near, far}, 0b11, 200, 0); i != 0 {
		t.Errorf("the empty near path was left for %d", i)
	}
	near.Queue = 40e6
	if i := PickSmall([]Candidate{near, far}, 0b11, 200, 0); i != 1 {
		t.Errorf("behind 40 ms of queue: %d", i)
	}
	near.Queue = -1
	if i := PickSmall([]Candidate{near, far}, 0b11, 200, 0); i != 1 {
		t.Errorf("bytes in flight beyond a round trip, queue not known: %d", i)
	}
	near.Queue = 0
	loaded := near
	loaded.Bulk, loaded.Ahead = true, 4e6
	for turn := range uint32(4) {
		if i := PickSmall([]Candidate{loaded, near}, 0b11, 200, turn); i != 1 {
			t.Errorf("turn %d behind the bulk of its own subflow", turn)
		}
	}
}

// Small flows take turns over the good subflows of the best path.
func TestPickSmallTurns(t *testing.T) {
	cs := []Candidate{
		{Path: 0, RTT: 20e6, Room: 1},
		{Path: 1, RTT: 50e6, Room: 1},
		{Path: 0, RTT: 21e6, Room: 1},
		{Path: 0, RTT: 20e6, Room: 1, Suspect: true},
		{Path: 0, RTT: 20e6, Room: 0},
		{Path: 0, RTT: 40e6, Room: 1},
	}
	seen := make(map[int]int)
	for turn := range uint32(100) {
		seen[PickSmall(cs, Usable(cs, false), 200, turn)]++
	}
	if len(seen) != 2 || seen[0] != 50 || seen[2] != 50 {
		t.Errorf("chosen %v, want 0 and 2 in turn", seen)
	}
	for i := range cs {
		cs[i].Suspect = true
	}
	if got := PickSmall(cs, Usable(cs, false), 200, 0); got != 0 {
		t.Errorf("all suspect: %d, want the best one all the same", got)
	}
	if got := PickSmall(nil, 0, 200, 0); got != NoSubflow {
		t.Errorf("no subflows: %d", got)
	}
}

func TestPickCopy(t *testing.T) {
	cs := []Candidate{{Path: 0, RTT: 20e6, Room: 1}, {Path: 0, RTT: 20e6, Room: 1}, {Path: 1, RTT: 50e6, Room: 1}}
	set := Usable(cs, false)
	if got := PickCopy(cs, set, 1<<0, 200, 0, false); got != 2 {
		t.Errorf("other path: %d, want 2", got)
	}
	if got := PickCopy(cs, set, 1<<0|1<<2, 200, 0, true); got != 1 {
		t.Errorf("same path: %d, want 1", got)
	}
	if got := PickCopy(cs, set, 0b111, 200, 0, true); got != NoSubflow {
		t.Errorf("all carry it: %d", got)
	}
	cs[2].Stale = true
	if got := PickCopy(cs, set, 1<<0, 200, 0, false); got != NoSubflow {
		t.Errorf("other path is stale: %d", got)
	}
}

func BenchmarkPickSmall(b *testing.B) {
	cs := make([]Candidate, 12)
	for i := range cs {
		cs[i] = Candidate{Path: i / 6, RTT: int64(20e6 + i/6*30e6), Rate: 50 * mbit, Room: 16384, Bulk: i%6 < 2}
	}
	set := Usable(cs, false)
	var turn uint32
	for b.Loop() {
		turn++
		PickSmall(cs, set, 200, turn)
	}
}

func BenchmarkPickBulk(b *testing.B) {
	cs := make([]Candidate, 12)
	for i := range cs {
		cs[i] = Candidate{Path: i / 6, RTT: int64(20e6 + i/6*30e6), Rate: 50 * mbit, Room: 16384, Bulk: i%6 < 2}
	}
	set := Usable(cs, false)
	for b.Loop() {
		PickBulk(cs, set, 100_000, 0, false)
	}
}

// A small flow stays where it is while that is about as good as the best, and
// leaves a subflow that may be stalled, is full, or is farther by now.
func TestSettled(t *testing.T) {
	cs := []Candidate{{RTT: 20e6, Room: 1e5}, {RTT: 21e6, Room: 1e5}}
	for _, c := range []struct {
		name   string
		change func(c *Candidate)
		want   int
	}{
		{"as good", func(*Candidate) {}, 1},
		{"suspect", func(c *Candidate) { c.Suspect = true }, 0},
		{"full", func(c *Candidate) { c.Room = 0 }, 0},
		{"farther", func(c *Candidate) { c.RTT = 40e6 }, 0},
	} {
		now := append([]Candidate(nil), cs...)
		c.change(&now[1])
		if got := Settled(now, 3, fq.Quantum, 0, 1); got != c.want {
			t.Errorf("%s: on %d, want %d", c.name, got, c.want)
		}
	}
	if got := Settled(cs, 1, fq.Quantum, 0, 1); got != 0 {
		t.Errorf("on %d, which it may not use", got)
	}
	if got := Settled(cs, 3, fq.Quantum, 0, NoSubflow); got != 0 {
		t.Errorf("a new flow is on %d, not on the best", got)
	}
}

// A subflow that somebody is just writing to is waited for, if the other way is longer
// by more than a turn; one that is full, or may be stalled, is not.
func TestSoon(t *testing.T) {
	for _, c := range []struct {
		name string
		near Candidate
		far  int64
		want bool
	}{
		{"somebody writes", Candidate{RTT: 20e6, Queue: -1, Own: 100}, 50e6, true},
		{"the other way is as good", Candidate{RTT: 20e6, Queue: -1, Own: 100}, 22e6, false},
		{"full", Candidate{RTT: 20e6, Queue: -1, Own: 1 << 20}, 50e6, false},
		{"full for a moment, beside a queue of seconds", Candidate{RTT: 20e6, Queue: -1, Own: 30e3, Rate: 50 * mbit}, 600e6, true},
		{"full for longer than the other way is", Candidate{RTT: 20e6, Queue: -1, Own: 1 << 20, Rate: 50 * mbit}, 100e6, false},
		{"suspect", Candidate{RTT: 20e6, Queue: -1, Own: 100, Suspect: true}, 50e6, false},
		{"free", Candidate{RTT: 20e6, Queue: -1, Own: 100, Room: 1e5}, 50e6, false},
	} {
		if got := Soon([]Candidate{c.near, {Path: 1, RTT: c.far, Queue: -1, Room: 1e5}}, 3, 1514, 1); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
