package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/integration/baseline"
	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/loads"
	"github.com/mpsocks/mpsocks/integration/netlab"
)

func TestMain(m *testing.M) {
	netlab.Main()
	baseline.Main()
	runtime.GOMAXPROCS(16) // see netlab.Realtime
	netlab.Hasten()
	os.Exit(func() int {
		var err error
		if programs, err = os.MkdirTemp("", "mpsocks-lab-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(programs)
		return m.Run()
	}())
}

// programs is the directory of what program builds.
var programs string

// program is mpsocks, built once for all tests.
var program = sync.OnceValues(func() (string, error) { return halves.Build(context.Background(), programs) })

// measureFor runs the program as its command line would and returns what it measured.
func measureFor(t *testing.T, args ...string) []*measurement {
	t.Helper()
	if err := netlab.Available(); err != nil {
		t.Skip("no network lab: ", err)
	}
	if testing.Short() {
		t.Skip("takes a minute")
	}
	dir := t.TempDir()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), append(args, "-bin", bin, "-out", dir)); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Measurements []*measurement `json:"measurements"`
	}
	b, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err == nil {
		err = json.Unmarshal(b, &doc)
	}
	if err != nil {
		t.Fatal(err)
	}
	plots, _ := filepath.Glob(filepath.Join(dir, "*.svg"))
	for _, name := range plots {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(bytes.NewReader(b))
		for err == nil {
			_, err = d.Token()
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s is no SVG: %v", filepath.Base(name), err)
		}
	}
	return doc.Measurements
}

// measured has the laboratory measure and judges each measurement, "" = it is as it should be.
// What is so although the emulator came late need not be measured again; what is not is, twice
// at most, where that may be why, or that others had more than netlab.Busy of the processors. When they
// had so each time nothing can be said, and the test skips.
func measured(t *testing.T, want int, judge func(m *measurement) string, args ...string) {
	t.Helper()
	busy := true
	for try := 1; ; try++ {
		others := netlab.Others(func() time.Duration { return ownCPU(t) })
		got := measureFor(t, append(args[:len(args):len(args)], "-tolerance", "0")...)
		if len(got) != want {
			t.Fatalf("%d measurements, want %d", len(got), want)
		}
		var wrong []string
		late := false
		for _, m := range got {
			t.Log(m.line())
			if m.Error != "" {
				t.Fatal(m.Error)
			}
			if says := judge(m); says != "" {
				wrong, late = append(wrong, says), late || m.late() > 3
			}
		}
		if len(wrong) == 0 {
			return
		}
		share := others()
		t.Logf("while others used %.0f %% of the machine: %s", 100*share, strings.Join(wrong, "; "))
		quiet := share < netlab.Busy
		busy = busy && !quiet
		switch {
		case try == attempts && busy:
			t.Skip("the machine is too busy with other work")
		case try == attempts || quiet && !late:
			t.Fatal(strings.Join(wrong, "\n"))
		}
	}
}

// ownCPU is the processor time that this process has used so far, with what it has started and
// what of that has ended.
func ownCPU(t *testing.T) (sum time.Duration) {
	t.Helper()
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var r unix.Rusage
		if err := unix.Getrusage(who, &r); err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	return sum
}

// TestShort is the short form of the lab: bounds wide enough for a machine that does other things too, tight enough that
// a scheduler which stripes, a stall that nobody notices or a datagram lost inside fails.
func TestShort(t *testing.T) {
	whole := func(most float64) func(m *measurement) string {
		return func(m *measurement) string {
			if d := m.Datagrams[0]; d.Lost > 0 || d.Duplicates > 0 || d.LongestGap > most {
				return fmt.Sprintf("%d lost, %d duplicates, gap %.0f ms", d.Lost, d.Duplicates, d.LongestGap)
			}
			return ""
		}
	}
	for _, c := range []struct {
		profile, load, seconds string
		judge                  func(m *measurement) string
	}{
		{"baseline", "game", "3", func(m *measurement) string {
			d := m.Datagrams[0]
			if d.Lost > 0 || d.Duplicates > 0 || d.RTT.P50 < 20 || d.RTT.P50 > 60 {
				return fmt.Sprintf("%d lost, %d duplicates, p50 %.1f ms on a round trip of 20 ms", d.Lost, d.Duplicates, d.RTT.P50)
			}
			return ""
		}},
		{"baseline", "bulk_down", "4", func(m *measurement) string {
			if g := m.Datagrams[0].Goodput; g < 55 {
				return fmt.Sprintf("%.1f Mbit/s on two paths of 50: no aggregation", g)
			}
			return ""
		}},
		{"rtt_120", "http3", "5", func(m *measurement) string {
			if g := m.Streams[0].Goodput; g < 20 {
				return fmt.Sprintf("%.1f Mbit/s, and the better path alone has 50", g)
			}
			return ""
		}},
		{"loss_1", "game", "5", whole(math.Inf(1))}, // nothing may be lost inside
		{"silent_death", "game", "8", whole(1000)},
		{"flap", "game", "6", whole(2000)},
		{"bloated", "crowded", "4", func(m *measurement) string {
			if p99 := m.Datagrams[0].RTT.P99; p99 > 250 {
				return fmt.Sprintf("p99 %.0f ms beside bulk flows", p99)
			}
			return ""
		}},
	} {
		t.Run(c.profile+" "+c.load, func(t *testing.T) {
			measured(t, 1, c.judge, "-run", c.profile, "-loads", c.load, "-subject", "mpsocks", "-seconds", c.seconds)
		})
	}
}

// TestYardsticks checks the instrument where the answer is known: raw UDP, and kernel MPTCP over both paths.
// TestCost has the kernel count what each datagram takes of both halves.
func TestCost(t *testing.T) {
	var here account
	defer here.close()
	if err := here.open(os.Getpid()); err != nil {
		t.Skip(err)
	}
	for _, m := range measureFor(t, "-run", "uneven", "-loads", "calls", "-subject", "mpsocks", "-seconds", "1", "-warmup", "0.5", "-tolerance", "0") {
		if m.Error != "" || len(m.Cost) != 2 {
			t.Fatalf("%s: cost %v, %s", m.Load, m.Cost, m.Error)
		}
		for _, c := range m.Cost {
			// One write each at least, beside what reads.
			if c.Micros < 1 || c.Micros > 2000 || c.Calls < 1 || c.Calls > 100 || c.Switches <= 0 || c.Switches > 100 {
				t.Errorf("a datagram takes %+v", c)
			}
		}
	}
}

func TestYardsticks(t *testing.T) {
	measured(t, 4, func(m *measurement) string {
		d := m.Datagrams[0]
		switch {
		case m.Load == "game" && (d.Lost > 0 || d.Latency().Min < 20):
			return fmt.Sprintf("%s: %d lost, shortest round trip %.2f ms of 20", m.Subject, d.Lost, d.Latency().Min)
		case m.Load == "bulk_down" && m.Subject == "raw" && (d.Goodput < 50 || d.Goodput > 60):
			return fmt.Sprintf("raw UDP got %.1f Mbit/s through a path of 60", d.Goodput)
		case m.Load == "bulk_down" && m.Subject == "kernel" && d.Goodput < 62:
			return fmt.Sprintf("kernel MPTCP got %.1f Mbit/s: it does not use both paths", d.Goodput)
		}
		return ""
	}, "-run", "uneven", "-loads", "game,bulk_down", "-subject", "raw,kernel", "-seconds", "3")
}

func TestMedianAndVerdicts(t *testing.T) {
	r := &results{}
	for i, g := range []float64{30, 10, 20} {
		r.done = append(r.done, &measurement{Profile: "p", Load: "l", Subject: "s", Run: i, flowResults: flowResults{Datagrams: []*loads.DatagramResult{{Goodput: g}}}})
	}
	r.done = append(r.done, &measurement{Profile: "p", Load: "l", Subject: "s", Error: "spoiled"})
	if m := r.median("p", "s", "l", goodput); m != 20 {
		t.Errorf("median %v, want 20", m)
	}
	nothing := r.median("p", "other", "l", goodput)
	if !math.IsNaN(nothing) {
		t.Errorf("median of nothing is %v", nothing)
	}
	for name, c := range map[string]struct {
		v    verdict
		want bool
	}{
		"reached":      {verdict{Measured: 0.96, Limit: 0.95, AtLeast: true}, true},
		"missed":       {verdict{Measured: 0.94, Limit: 0.95, AtLeast: true}, false},
		"below":        {verdict{Measured: 3, Limit: 3}, true},
		"above":        {verdict{Measured: 3.1, Limit: 3}, false},
		"not measured": {verdict{Measured: nothing, Limit: 3}, false},
	} {
		if c.v.pass() != c.want || strings.HasPrefix(c.v.String(), "pass") != c.want {
			t.Errorf("%s: %s", name, c.v.String())
		}
	}
}

// TestSpoiled has a session whose second of two loads the emulator spoils.
func TestSpoiled(t *testing.T) {
	l := &laboratory{options: &options{tolerance: 3}}
	m := func(late float64, err string) *measurement {
		return &measurement{Profile: "p", Load: "l", Subject: "s", Error: err, Paths: []pathFigures{{LateP99: 0.1}, {LateP99: late}}}
	}
	for name, c := range map[string]struct {
		old, next  *measurement
		keepsOld   bool
		dropsOther bool
	}{
		"first":                   {nil, m(9, ""), false, false},
		"not needed":              {m(1, ""), m(0.5, ""), true, false},
		"mended":                  {m(9, ""), m(1, ""), false, true},
		"less so":                 {m(9, ""), m(5, ""), false, true},
		"more so":                 {m(5, ""), m(9, ""), true, true},
		"failed":                  {m(9, ""), m(9, "died"), false, true},
		"failed, though not late": {m(1, ""), m(1, "died"), false, true},
	} {
		kept, dropped := l.better(c.old, c.next)
		other := c.old
		if c.keepsOld {
			other = c.next
		}
		if (kept == c.old) != c.keepsOld || (dropped != nil) != c.dropsOther || dropped != nil && dropped != other {
			t.Errorf("%s: kept %p, dropped %p of %p, %p", name, kept, dropped, c.old, c.next)
		}
	}
	if l.spoiled(m(9, "died")) {
		t.Error("a failure counts as spoiled")
	}
	l.done, l.dropped = []*measurement{m(4, ""), m(1, "")}, []*measurement{m(9, "")}
	if text := l.retaken(); !strings.Contains(text, "2 measurements 1 attempts") || !strings.Contains(text, "in 1 that") {
		t.Error(text)
	}
	l.dropped[0].Datagrams = []*loads.DatagramResult{{Lost: 7}}
	for _, d := range l.done {
		d.Datagrams = []*loads.DatagramResult{{}}
	}
	if v := l.worst("p", "s", "l", lost); v != 7 {
		t.Errorf("%v lost at worst, want the 7 of the attempt that was dropped", v)
	}
	l.tolerance = 0
	if l.spoiled(m(9, "")) {
		t.Error("no tolerance, and yet spoiled")
	}
}

func TestReturnAndDip(t *testing.T) {
	m := &measurement{}
	d := &loads.DatagramResult{}
	for i := range 220 { // 11 s in slots of 50 ms: 40 Mbit/s, 100 at first and from 8 s on
		at := float64(i) * 0.05
		v := 40.0
		if at < 3 || at >= 8 {
			v = 100
		}
		d.Points = append(d.Points, loads.Point{At: at, Mbit: v})
		if i%2 == 0 {
			u := usagePoint{At: at, Down: []float64{0, 40}}
			if at >= 7.5 {
				u.Down[0] = 60
			}
			m.Usage = append(m.Usage, u)
		}
	}
	m.Datagrams = append(m.Datagrams, d)
	if got := returned(m); math.Abs(got-0.5) > 0.01 {
		t.Errorf("path returned after %v s, want 0.5", got)
	}
	if got := dip(m); math.Abs(got-1) > 0.01 {
		t.Errorf("dip %v, want 1: 40 before and at least 40 after", got)
	}
	d.Points[145].Mbit = 0
	if got := dip(m); math.Abs(got-0.9) > 0.01 {
		t.Errorf("dip %v, want 0.9", got)
	}
}

func TestEveryBarHasItsLoads(t *testing.T) {
	all, err := choose([]string{"all"})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bars {
		needs := b.needs(all)
		if len(needs) == 0 {
			t.Errorf("bar %s needs nothing", b.name)
		}
		for _, n := range needs {
			if _, err := loadByName(n.load); err != nil {
				t.Errorf("bar %s: %v", b.name, err)
			}
			if one(all, n.profile) == nil {
				t.Errorf("bar %s: no profile %s", b.name, n.profile)
			}
		}
		if v := b.judge(all, &results{}); len(v) == 0 || v[0].pass() && v[0].Limit > 0 {
			t.Errorf("bar %s passes on nothing: %v", b.name, v)
		}
	}
}

func TestSessionsInStatus(t *testing.T) {
	var v any
	if err := json.Unmarshal([]byte(`{"a": {"session": {"sent_bytes": 100, "copied_bytes": 7, "paths": [{"sent_bytes": 50}]}}, "b": [{"sent_bytes": 1, "copied_bytes": 1}], "counters": {"copied_bytes": 8, "renewals": 0}}`), &v); err != nil {
		t.Fatal(err)
	}
	if sent, copied := sessions(v); sent != 101 || copied != 8 {
		t.Errorf("sent %v, copied %v", sent, copied)
	}
	if d := time.Duration(usageSlot); d <= 0 {
		t.Error("no slot")
	}
}
