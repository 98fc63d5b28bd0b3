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
		least   float64 // of the best path alone
	}{
		{"fiber_lte", quicTalk, 1.05},
		{"baseline", quicTalk, 1.5},
		{"baseline", vpnTalk, 0.97},
		{"baseline", utpTalk, 0.97},
	} {
		t.Run(c.profile+", "+c.kind.name, func(t *testing.T) {
			t.Parallel()
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
			}
		})
	}
}
