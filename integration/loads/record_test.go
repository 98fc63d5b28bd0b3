package loads

import (
	"testing"
	"time"
)

// TestJudge feeds an account whose every figure is known.
func TestJudge(t *testing.T) {
	begin := time.Unix(1000, 0)
	const n, size = 1000, 100
	rec := newRecord(n, size)
	var left []int64
	for i := range n { // one per millisecond
		left = append(left, begin.Add(time.Duration(i)*time.Millisecond).UnixNano())
	}
	put := func(i int, latency time.Duration) bool {
		p := payload(make([]byte, size))
		p.fill(1, uint64(i), left[i])
		p.setEchoed(left[i] + int64(latency/4))
		return rec.note(p, left[i]+int64(latency))
	}
	for i := range n {
		switch {
		case i >= 600 && i < 650: // a hole of 50
		case i%100 == 99:
			put(i, 30*time.Millisecond)
		default:
			put(i, 10*time.Millisecond)
		}
	}
	if put(5, time.Second) {
		t.Error("a duplicate counted as new")
	}
	rec.note(payload(make([]byte, size-1)), 0)
	d := rec.judge(&Datagrams{Direction: Echo, Warmup: 500 * time.Millisecond}, left, begin)
	if d.Sent != 500 || d.Lost != 50 || d.Duplicates != 1 || d.Corrupt != 1 {
		t.Errorf("sent %d, lost %d, duplicates %d, corrupt %d", d.Sent, d.Lost, d.Duplicates, d.Corrupt)
	}
	if d.RTT.P50 != 10 || d.RTT.P90 != 10 || d.RTT.P99 != 30 || d.RTT.Max != 30 || d.Up.P50 != 2.5 || d.Down.P50 != 7.5 {
		t.Errorf("round trip %+v, up %+v, down %+v", d.RTT, d.Up, d.Down)
	}
	// From the arrival of 598 (599 takes 30 ms and falls into the hole) or 599 to 650: 610 -> 629 -> 660.
	if d.LongestGap != 31 {
		t.Errorf("longest gap %v, want 31", d.LongestGap)
	}
	if d.Points[12].Lost != 50 || d.Points[11].Lost != 0 || d.Points[10].Mid != 10 || d.Points[11].Max != 30 {
		t.Errorf("points %+v", d.Points[10:13])
	}
}

func TestJudgeOfSilenceIsAGap(t *testing.T) {
	rec := newRecord(10, 32)
	var left []int64
	for i := range 10 {
		left = append(left, int64(i)*1e6+1)
	}
	p := payload(make([]byte, 32))
	p.fill(1, 0, left[0])
	rec.note(p, left[0]+1000)
	if d := rec.judge(&Datagrams{Direction: Up}, left, time.Unix(0, 0)); d.LongestGap < 8.9 || d.Lost != 9 {
		t.Errorf("gap %v, lost %d", d.LongestGap, d.Lost)
	}
}
