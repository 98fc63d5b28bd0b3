package netlab

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// feed pushes n packets of the size at a constant interval through a pipe in virtual time and returns when each
// came out, by number; 0 for the dropped ones.
func feed(p *pipe, n, size int, every time.Duration) []int64 {
	out := make([]int64, n)
	number := func(buf []byte) int { return int(buf[0]) | int(buf[1])<<8 | int(buf[2])<<16 }
	drain := func(until int64) {
		for p.next() <= until {
			at := p.next()
			buf, _, deliver, _ := p.pop(at)
			if deliver {
				out[number(buf)] = at
			}
		}
	}
	for i := range n {
		now := int64(i)*int64(every) + 1
		drain(now)
		p.push(now, []byte{byte(i), byte(i >> 8), byte(i >> 16)}, size)
	}
	drain(never - 1)
	return out
}

func TestPipeDelaysEachPacketByQueueLinkAndLine(t *testing.T) {
	// 1,250 bytes at 10 Mbit/s take 1 ms on the link. Packets come every 0.5 ms: each waits half a millisecond longer
	// than the one before.
	p := newPipe(Link{Delay: 10 * time.Millisecond, Rate: Mbit(10)}, 1)
	got := feed(p, 4, 1250, 500*time.Microsecond)
	want := []int64{11_000_001, 12_000_001, 13_000_001, 14_000_001}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestPipeDropsWhatFindsTheQueueFull(t *testing.T) {
	for name, l := range map[string]Link{
		"time":    {Rate: Mbit(10), QueueTime: 20 * time.Millisecond},
		"bytes":   {Rate: Mbit(10), QueueBytes: 25_000},
		"default": {Rate: Mbit(10)},
	} {
		p := newPipe(l, 1)
		feed(p, 10_000, 1250, 500*time.Microsecond) // twice the rate for 5 s
		limit := 20 * time.Millisecond
		if name == "default" {
			limit = DefaultQueue
		}
		s := p.snapshot()
		if s.Packets != 10_000 || s.Overflow < 4900 || s.Overflow > 5000 {
			t.Errorf("%s: %d of %d dropped, want about half", name, s.Overflow, s.Packets)
		}
		if s.QueueMax > limit || s.QueueMax < limit-2*time.Millisecond {
			t.Errorf("%s: longest wait %v, want about %v", name, s.QueueMax, limit)
		}
	}
}

func TestPipeLosesAsAsked(t *testing.T) {
	for name, c := range map[string]struct {
		link Link
		want float64
	}{
		"none":   {Link{}, 0},
		"random": {Link{Loss: 0.02}, 0.02},
		"burst":  {Link{Burst: Burst{Enter: 0.005, Leave: 0.2, Loss: 0.8}}, 0.8 * 0.005 / 0.205},
		"all":    {Link{Loss: 1}, 1},
	} {
		const n = 200_000
		p := newPipe(c.link, 7)
		feed(p, n, 100, time.Microsecond)
		got := float64(p.stats.Lost) / n
		// Five standard deviations, widened for bursts by their mean length of five packets.
		if tolerance := 5 * math.Sqrt(c.want*(1-c.want)/n) * 3; math.Abs(got-c.want) > tolerance {
			t.Errorf("%s: lost %.4f, want %.4f ± %.4f", name, got, c.want, tolerance)
		}
		if mean := c.link.Burst.Mean(); name == "burst" && mean != c.want {
			t.Errorf("mean of the burst model %v, want %v", mean, c.want)
		}
	}
}

func TestPipeJitter(t *testing.T) {
	for name, c := range map[string]struct {
		link    Link
		reorder bool
	}{
		"smooth":     {Link{Delay: 40 * time.Millisecond, Jitter: 20 * time.Millisecond}, false},
		"reordering": {Link{Delay: 40 * time.Millisecond, Jitter: 20 * time.Millisecond, Reorder: true}, true},
	} {
		p := newPipe(c.link, 3)
		const every = time.Millisecond
		out := feed(p, 20_000, 100, every)
		low, high, sum, overtakes, last := int64(math.MaxInt64), int64(0), int64(0), 0, int64(0)
		for i, at := range out {
			d := at - int64(i)*int64(every) - 1
			low, high, sum = min(low, d), max(high, d), sum+d
			if at < last {
				overtakes++
			}
			last = at
		}
		mean := time.Duration(sum / int64(len(out)))
		if low < 20e6 || low > 24e6 || high > 60e6 || high < 56e6 || mean < 37*time.Millisecond || mean > 43*time.Millisecond {
			t.Errorf("%s: delay from %v by %v to %v, want 20 ms by 40 ms to 60 ms", name, time.Duration(low), mean, time.Duration(high))
		}
		if (overtakes > 0) != c.reorder {
			t.Errorf("%s: %d overtakes", name, overtakes)
		}
	}
}

func TestPipeChangesLive(t *testing.T) {
	// Ten packets of 1,250 bytes wait for a link of 1 Mbit/s (10 ms each); after 25 ms it becomes ten times as fast.
	p := newPipe(Link{Rate: Mbit(1), QueueTime: time.Second, Delay: 5 * time.Millisecond}, 1)
	for i := range 10 {
		p.push(0, []byte{byte(i)}, 1250)
	}
	p.set(25e6, Link{Rate: Mbit(10), QueueTime: time.Second, Delay: 5 * time.Millisecond})
	var got []int64
	for p.count > 0 {
		at := p.next()
		p.pop(at)
		got = append(got, at/1e6)
	}
	want := []int64{15, 25, 31, 32, 33, 34, 35, 36, 37, 38}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// A black hole takes what is under way too.
	p.push(1e9, []byte{0}, 100)
	p.set(1e9, Link{BlackHole: true})
	if _, _, deliver, ok := p.pop(never - 1); !ok || deliver || p.stats.Swallowed != 1 {
		t.Errorf("black hole: popped %v, delivered %v, swallowed %d", ok, deliver, p.stats.Swallowed)
	}
}

func TestRateText(t *testing.T) {
	for text, want := range map[string]Rate{"50M": 50e6, "1.5M": 15e5, "256k": 256e3, "1G": 1e9, "800": 800, "unlimited": 0} {
		got, err := ParseRate(text)
		if err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", text, got, err, want)
		}
		back, err := ParseRate(got.String())
		if err != nil || back != want {
			t.Errorf("%s: %s does not read back: %v", text, got, err)
		}
	}
	for _, text := range []string{"", "M", "-1M", "5 apples", "1e30"} {
		if _, err := ParseRate(text); err == nil {
			t.Errorf("%q was taken for a rate", text)
		}
	}
}

func TestLinkValidate(t *testing.T) {
	good := Link{Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond, Rate: Mbit(50), Loss: 0.01}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, l := range map[string]Link{
		"negative delay":         {Delay: -1},
		"jitter above the delay": {Delay: 1, Jitter: 2},
		"loss above one":         {Loss: 1.1},
		"not a number":           {Burst: Burst{Enter: math.NaN()}},
		"rate too small":         {Rate: 1},
		"negative queue":         {QueueBytes: -1},
	} {
		if l.Validate() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestLatenessIsCounted(t *testing.T) {
	p := newPipe(Link{}, 1)
	for i := range 200 {
		p.push(0, []byte{byte(i)}, 100)
		late := int64(70_300)
		if i%50 == 49 {
			late = 7_345_678
		}
		p.pop(late)
	}
	s := p.snapshot()
	if s.LateP50 != 70*time.Microsecond || s.LateP99 != 7300*time.Microsecond || s.LateMax != 7300*time.Microsecond {
		t.Errorf("late p50 %v, p99 %v, max %v", s.LateP50, s.LateP99, s.LateMax)
	}
	if s = p.snapshot(); s.LateMax != 0 || s.Packets != 200 {
		t.Errorf("the second reading has %v of the first one, and %d packets", s.LateMax, s.Packets)
	}
}
