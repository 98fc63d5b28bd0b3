package engine

import "testing"

// talked plays one talk over a network and returns what came in the last seven tenths, in bytes.
func (p *profile) talked(kind manner, seed uint64, down bool) (came uint64, t *talker) {
	n := p.open(seed, down)
	w, from, to := n.w, n.a, n.b
	if down {
		from, to = n.b, n.a
	}
	start := int64(1e9 + 5e8*w.rnd.Float64())
	n.befalls(start)
	t = talkFrom(kind, from, to, 7000, start)
	w.run(start + profileSpan*3/10)
	before := t.arrived
	w.run(start + profileSpan)
	t.ended = true
	return t.arrived - before, t
}

// TestTalks has programs that answer to what becomes of their datagrams send as much as they
// find room for: QUIC, TCP within a VPN, uTP. Over fibre and LTE at most 1.15 of fibre alone can be
// had, as LTE has 30 of 230 Mbit/s.
func TestTalks(t *testing.T) {
	if raceOn {
		t.Skip("nothing in it happens at once, and it takes a minute")
	}
	all := profiles(t)
	for _, c := range []struct {
		profile string
		kind    manner
		least   float64 // of the best path alone,
		mean    float64 // and of all seeds
	}{
		{"fiber_lte", quicTalk, 0.97, 1.05},
		{"fiber_lte", vpnTalk, 0.95, 0.97},
		{"baseline", quicTalk, 1.8, 1.85},
		{"baseline", vpnTalk, 1.4, 1.45},
		{"baseline", utpTalk, 1.9, 1.95},
		{"bw_10to1", quicTalk, 0.93, 0.98},
		{"bw_4to1", quicTalk, 1.1, 1.2},
		{"bw_4to1", vpnTalk, 0.95, 1},
		{"dual_lte", quicTalk, 0.97, 1.1},
		{"dual_lte", vpnTalk, 0.97, 1.3},
		{"dual_lte", utpTalk, 1.4, 1.6},
		{"uneven", quicTalk, 1.1, 1.3},
	} {
		t.Run(c.profile+", "+c.kind.name, func(t *testing.T) {
			t.Parallel()
			sum := 0.0
			for seed := range uint64(seeds()) {
				p := all[c.profile]
				best := uint64(0)
				for i := range p.Paths {
					came, _ := p.only(i).talked(c.kind, seed, true)
					best = max(best, came)
				}
				came, k := p.talked(c.kind, seed, true)
				share := float64(came) / float64(best)
				t.Logf("seed %d: %.2f of the best path alone (%.1f Mbit/s), %d cuts, %d lost in vain, round trip %d ms of %d at least, window %d",
					seed, share, float64(best)*8/(float64(profileSpan)*0.7)*1e3, k.cuts, k.spurious, k.cc.srtt/1e6, k.cc.minRTT/1e6, int(k.cc.cwnd))
				if share < c.least {
					t.Errorf("the bound is %.2f", c.least)
				}
				sum += share
			}
			if mean := sum / float64(seeds()); mean < c.mean {
				t.Errorf("%.2f on average, the bound is %.2f", mean, c.mean)
			}
		})
	}
}

// started plays a QUIC download as the first thing in a session and returns what came in its first
// second, and in its first three and a half, of what the paths' rates allow.
func (p *profile) started(seed uint64) (first, whole float64) {
	n := p.open(seed, true)
	start := int64(1e9 + 5e8*n.w.rnd.Float64())
	t := talkFrom(quicTalk, n.b, n.a, 7000, start)
	n.w.run(start + 1e9)
	first = float64(t.arrived) / (n.sum * 1e9)
	n.w.run(start + 35e8)
	return first, float64(t.arrived) / (n.sum * 35e8)
}

// TestStarts counts a QUIC download from its first byte on, when nothing is known of the paths yet.
// It failed in each row: a thin path's queue grew, the others waited for what came by it, and the
// flow left slow start; or a subflow that carried all of the flow had half of its path's pace; or,
// of two subflows a path, the flow waited for TCP's window of one.
func TestStarts(t *testing.T) {
	if raceOn {
		t.Skip("nothing in it happens at once")
	}
	all := profiles(t)
	for _, c := range []struct {
		profile      string
		first, whole float64 // of the sum of the paths, on average of 12 seeds,
		worst        float64 // and least of whole
	}{
		{"baseline", 0.78, 0.86, 0.83},
		{"bw_10to1", 0.73, 0.81, 0.70},
		{"bw_4to1", 0.80, 0.87, 0.83},
		{"dsl_cable", 0.77, 0.86, 0.83},
		{"dual_lte", 0.58, 0.62, 0.39},
		{"fiber_lte", 0.75, 0.80, 0.73},
		{"rtt_70", 0.45, 0.53, 0.41},
		{"uneven", 0.65, 0.77, 0.58},
	} {
		t.Run(c.profile, func(t *testing.T) {
			t.Parallel()
			const seeds = 12
			first, whole, worst := 0.0, 0.0, 1.0
			for seed := range uint64(seeds) {
				f, w := all[c.profile].started(seed)
				first, whole, worst = first+f/seeds, whole+w/seeds, min(worst, w)
			}
			t.Logf("%.3f of the sum in the first second, %.3f in three and a half, %.3f at worst", first, whole, worst)
			if first < c.first || whole < c.whole || worst < c.worst {
				t.Errorf("the bound is %+v", c)
			}
		})
	}
}
