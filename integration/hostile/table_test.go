package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// ms makes a window of a thousand datagrams with that p99, of which some were lost.
func ms(p99 float64, lost int) measure {
	return measure{sent: 1000, lost: lost, p99: time.Duration(p99 * float64(time.Millisecond))}
}

func TestMeasured(t *testing.T) {
	took := make([]time.Duration, 0, 200)
	for i := range 200 { // the slowest first
		took = append(took, time.Duration(200-i)*time.Millisecond)
	}
	m := measured(210, took)
	if m.sent != 210 || m.lost != 10 || m.p50 != 101*time.Millisecond || m.p99 != 199*time.Millisecond {
		t.Errorf("of 1 to 200 ms, and ten that were lost: %v", m)
	}
	if m := measured(3, nil); m.lost != 3 || m.p99 != 0 {
		t.Errorf("all lost: %v", m)
	}
}

// What counts is the median of the rounds' ratios, each to its own round: neither the ratio of
// medians nor that of a round in which the machine was away.
func TestMedianOfRounds(t *testing.T) {
	r := row{rounds: []round{
		{alone: ms(1, 0), elsewhere: ms(2, 0), beside: ms(3, 0)},
		{alone: ms(10, 0), elsewhere: ms(10, 0), beside: ms(15, 0)},
		{alone: ms(1, 0), elsewhere: ms(1, 0), beside: ms(40, 0)},
	}}
	if got, want := r.overAlone(), (spread{3, 1.5, 40}); got != want {
		t.Errorf("over alone %v, want %v", got, want)
	}
	if got, want := r.overElsewhere(), (spread{1.5, 1.5, 40}); got != want {
		t.Errorf("over elsewhere %v, want %v", got, want)
	}
	r.rounds = r.rounds[:2]
	if got, want := r.overAlone(), (spread{2.25, 1.5, 3}); got != want {
		t.Errorf("of two rounds %v, want %v", got, want)
	}
	if got := (&row{}).overAlone(); got != (spread{}) {
		t.Errorf("of none %v", got)
	}
}

// Rounds that do not agree about the goal are not enough, nor those that do not about whose fault
// it is; those that agree are.
func TestUnsure(t *testing.T) {
	for name, c := range map[string]struct {
		alone, elsewhere [3]float64 // of 2 ms beside
		unsure           bool
	}{
		"met by all":                   {[3]float64{1, 2, 3}, [3]float64{1, 1, 1}, false},
		"missed by one":                {[3]float64{1, 0.9, 3}, [3]float64{1, 1, 1}, true},
		"met by one":                   {[3]float64{0.5, 0.9, 1}, [3]float64{1, 1, 1}, true},
		"missed by all, by the server": {[3]float64{0.5, 0.9, 0.9}, [3]float64{0.5, 0.9, 0.9}, false},
		"missed by all, as elsewhere":  {[3]float64{0.5, 0.9, 0.9}, [3]float64{2, 1, 2}, false},
		"missed by all, whose fault?":  {[3]float64{0.5, 0.9, 0.9}, [3]float64{2, 0.9, 2}, true},
	} {
		r := row{}
		for i := range c.alone {
			r.rounds = append(r.rounds, round{alone: ms(c.alone[i], 0), elsewhere: ms(c.elsewhere[i], 0), beside: ms(2, 0)})
		}
		if r.unsure() != c.unsure {
			t.Errorf("%s: %v", name, !c.unsure)
		}
	}
}

// All rounds as one have as many datagrams as they were.
func TestTogether(t *testing.T) {
	of := func(n int, d time.Duration) measure { return measured(n, slices.Repeat([]time.Duration{d}, n)) }
	r := row{rounds: []round{
		{alone: of(980, time.Millisecond), beside: of(980, 2*time.Millisecond)},
		{alone: of(15, 4*time.Millisecond), beside: of(15, 6*time.Millisecond)},
	}}
	if got := r.together(); got != 1.5 {
		t.Error(got)
	}
}

func TestVerdict(t *testing.T) {
	fine := round{alone: ms(1, 0), elsewhere: ms(1, 0), beside: ms(1.9, 0), joined: soon, peak: memory}
	three := func(f func(*round)) []round {
		odd := fine
		f(&odd)
		return []round{odd, odd, fine}
	}
	one := func(f func(*round)) []round { return []round{fine, three(f)[0], fine} }
	for name, c := range map[string]struct {
		rounds []round
		missed bool
		broken string // what it says, "" for nothing
	}{
		"all is well":                      {three(func(*round) {}), false, ""},
		"slow once":                        {one(func(o *round) { o.beside = ms(9, 0) }), false, ""},
		"slow twice, by the server":        {three(func(o *round) { o.beside = ms(9, 0) }), true, "9.0 times that alone and 9.0 times"},
		"slow twice, as it is elsewhere":   {three(func(o *round) { o.beside, o.elsewhere = ms(9, 0), ms(5, 0) }), true, ""},
		"only elsewhere is faster":         {three(func(o *round) { o.alone, o.elsewhere = ms(5, 0), ms(0.5, 0) }), false, ""},
		"one lost":                         {one(func(o *round) { o.beside = ms(1, 1) }), false, "lost 1 of 3000"},
		"one lost without an attack":       {one(func(o *round) { o.alone, o.elsewhere = ms(1, 1), ms(1, 1) }), false, ""},
		"all lost":                         {three(func(o *round) { o.beside = ms(0, 1000) }), false, "lost 2000 of 3000"},
		"a client joins late, once":        {one(func(o *round) { o.joined = soon + time.Millisecond }), false, "joined after 2.001s"},
		"memory, once":                     {one(func(o *round) { o.peak = memory + memory/5 + 1 }), false, "the server had 307 MiB"},
		"nothing came back without attack": {three(func(o *round) { o.alone = ms(0, 1000) }), true, ""},
	} {
		r := row{rounds: c.rounds}
		broken := strings.Join(r.broken(), "; ")
		if r.missed() != c.missed || (broken == "") != (c.broken == "") || !strings.Contains(broken, c.broken) {
			t.Errorf("%s: missed %v, broken %q", name, r.missed(), broken)
		}
	}
}

func TestTable(t *testing.T) {
	rows := []row{
		{"fine", false, []round{{alone: ms(1, 0), elsewhere: ms(1, 2), beside: ms(1.5, 0), joined: 30 * time.Millisecond, peak: 40 << 20, busy: 0.27}}},
		{"shared", false, []round{{alone: ms(1, 0), elsewhere: ms(3, 0), beside: ms(4, 0), joined: time.Second}}},
		{"ours", false, []round{{alone: ms(1, 0), elsewhere: ms(1, 0), beside: ms(4, 1)}}},
	}
	const want = "" +
		"| `fine` | 1.0 (1.0 - 1.0) | 1.0 (1.0 - 1.0) | 1.5 (1.5 - 1.5) | 1.5 (1.5 - 1.5) | 1.5 (1.5 - 1.5) | 0.0 | 1 | 0 of 1000 | 30 | 40 | 27 |\n" +
		"| `shared` | 1.0 (1.0 - 1.0) | 3.0 (3.0 - 3.0) | 4.0 (4.0 - 4.0) | **4.0 (4.0 - 4.0)** | 1.3 (1.3 - 1.3) | 0.0 | 1 | 0 of 1000 | 1000 | 0 | 0 |\n" +
		"| `ours` | 1.0 (1.0 - 1.0) | 1.0 (1.0 - 1.0) | 4.0 (4.0 - 4.0) | **4.0 (4.0 - 4.0)** | **4.0 (4.0 - 4.0)** | 0.0 | 1 | 1 of 1000 | 0 | 0 | 0 |\n"
	head, body, _ := strings.Cut(table(rows), "---|\n")
	if body != want || strings.Count(head, "|") < 20 {
		t.Errorf("%s---|\n%s", head, body)
	}
	const say = "p99 over twice that alone, the goal: 2 of 3 missed: `shared` 4.0, `ours` 4.0.\n" +
		"And over twice that beside the same attack elsewhere, so that it is the server's: 1: `ours` 4.0.\n" +
		"Lost beside attacks: 1 of 3000; in the windows without one at this server: 2.\n"
	if got := verdicts(rows); got != say {
		t.Error(got)
	}
	control := append([]row{{"nothing", true, rows[0].rounds}}, rows[2])
	if got := verdicts(control); !strings.Contains(got, "beside no attack a round has 1.5 (1.5 - 1.5) times") || !strings.Contains(got, "1 of 1 missed: `ours`") {
		t.Error(got)
	}
	if got := verdicts(rows[:1]); !strings.Contains(got, "0 of 1 missed: none.") {
		t.Error(got)
	}
}
