package engine

import "math"

// A cubic is CUBIC's state.
type cubic struct {
	wMax   float64
	origin float64
	epoch  int64
	k      float64

	hyRound uint64
	hyLeast int64 // of this round
	hySeen  int
}

func (c *cubic) lost(t *tcp) {
	c.wMax, c.epoch = t.cwnd, 0
	t.ssthresh = max(0.7*t.cwnd, 2*mss)
	t.used = [2]int{}
}

// hystart leaves slow start when round trips grow.
func (c *cubic) hystart(t *tcp, rtt int64) {
	if t.ccNow != "cubic" || t.cwnd >= t.ssthresh || t.cwnd < 16*mss {
		return
	}
	if t.una >= c.hyRound {
		c.hyRound, c.hyLeast, c.hySeen = t.next, rtt, 0
	}
	c.hyLeast = min(c.hyLeast, rtt)
	if c.hySeen++; c.hySeen == 8 && c.hyLeast > t.minRTT+min(max(t.minRTT/8, 4e6), 16e6) {
		t.ssthresh = t.cwnd
	}
}

// acked opens the window.
func (c *cubic) acked(t *tcp, n int) {
	used := float64(max(t.used[0], t.used[1]))
	if t.cwnd < t.ssthresh {
		if t.cwnd < 2*used {
			t.cwnd += float64(n)
		}
		return
	}
	if used+mss < t.cwnd {
		return
	}
	if c.epoch == 0 {
		c.epoch = t.w.now
		c.origin = max(c.wMax, t.cwnd)
		c.k = math.Cbrt((c.origin - t.cwnd) / mss / 0.4)
	}
	x := float64(t.w.now-c.epoch+t.minRTT)/1e9 - c.k
	target := 0.4*x*x*x*mss + c.origin
	t.cwnd += max(min((target-t.cwnd)/t.cwnd, 0.5), 0.01*mss/t.cwnd) * float64(n)
}
