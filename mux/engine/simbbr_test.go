package engine

// A bbr is what Linux keeps of BBR (version 1).
type bbr struct {
	most     [bbrRounds]float64 // of the rate, in each of the last rounds
	rounds   int
	pacing   float64
	full     int
	fullBW   float64
	mode     bbrMode
	phase    int
	phaseAt  int64
	minRTT   int64
	minAt    int64
	until    int64 // of bbrStop
	prior    float64
	conserve bool
	limited  bool // the last sample was, by what there was to send
}

type bbrMode uint8

const (
	bbrStart bbrMode = iota
	bbrDrain
	bbrProbe
	bbrStop // PROBE_RTT

	bbrHigh   = 2.885
	bbrRounds = 10
	bbrWindow = 10e9 // the least round trip is as old at most
)

var bbrGains = [8]float64{1.25, 0.75, 1, 1, 1, 1, 1, 1}

func (b *bbr) bw() (most float64) {
	for _, x := range b.most {
		most = max(most, x)
	}
	return most
}

func (b *bbr) sample(rate float64) {
	at := &b.most[b.rounds%bbrRounds]
	*at = max(*at, rate)
}

func (b *bbr) lost(t *tcp) {
	b.save(t)
	b.conserve = true
	t.cwnd = float64(t.pipe + mss)
	t.round = t.delivered
}

func (b *bbr) timeout(t *tcp) {
	b.save(t)
	b.full, b.fullBW = 0, 0 // "this RTO may be a new path"
}

func (b *bbr) save(t *tcp) {
	if t.recovering && !b.conserve || b.mode == bbrStop {
		b.prior = max(b.prior, t.cwnd)
		return
	}
	b.prior = t.cwnd
}

func (b *bbr) acked(t *tcp, n, lost int, newRound bool) {
	now := t.w.now
	if newRound {
		b.rounds++
		b.most[b.rounds%bbrRounds] = 0
		b.conserve = false
		if b.full < 3 && !b.limited {
			if bw := b.bw(); bw >= 1.25*b.fullBW {
				b.fullBW, b.full = bw, 0
			} else {
				b.full++
			}
		}
	}
	bw := b.bw()
	expired := b.minAt != 0 && now-b.minAt > bbrWindow
	if t.srtt > 0 && (b.minRTT == 0 || t.minRTT < b.minRTT || expired) {
		b.minRTT, b.minAt = t.minRTT, now
	}
	bdp := bw * float64(max(b.minRTT, 1))
	gain, window := 1.0, 2.0
	switch b.mode {
	case bbrStart:
		gain, window = bbrHigh, bbrHigh
		if b.full >= 3 {
			b.mode = bbrDrain
		}
	case bbrDrain:
		gain, window = 1/bbrHigh, bbrHigh
		if float64(t.pipe) <= bdp {
			b.mode, b.phase, b.phaseAt = bbrProbe, 2+int(now/1000)%6, now
		}
	case bbrProbe:
		gain = bbrGains[b.phase]
		whole := now-b.phaseAt > b.minRTT
		if gain == 1 && whole || gain > 1 && whole && (lost > 0 || float64(t.pipe) >= gain*bdp) || gain < 1 && (whole || float64(t.pipe) <= bdp) {
			b.phase, b.phaseAt = (b.phase+1)%8, now
		}
	case bbrStop:
		if now > b.until {
			b.mode, b.phaseAt, b.minAt = bbrProbe, now, now
			t.cwnd = max(t.cwnd, b.prior)
		}
	}
	if expired && b.mode != bbrStop && !b.limited {
		b.prior = t.cwnd
		b.mode, b.until = bbrStop, now+200e6+b.minRTT
	}
	if rate := gain * bw; b.full >= 3 || rate > b.pacing {
		b.pacing = rate
	}
	if lost > 0 {
		t.cwnd = max(t.cwnd-float64(lost), mss)
	}
	target := window*bdp + 3*mss
	switch {
	case b.conserve:
		t.cwnd = max(t.cwnd, float64(t.pipe+n))
	case b.full >= 3:
		t.cwnd = min(t.cwnd+float64(n), target)
	case t.cwnd < target || t.delivered < 10*mss:
		t.cwnd += float64(n)
	}
	t.cwnd = max(t.cwnd, 4*mss)
	if b.mode == bbrStop {
		t.cwnd = min(t.cwnd, 4*mss)
	}
}
