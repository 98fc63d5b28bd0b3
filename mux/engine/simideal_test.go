package engine

import (
	"math/rand/v2"
	"slices"
)

// ideal is what TCP alone carries over the paths from a first byte on, each path for itself and
// with the congestion control that does best there, as a share of the rates added up: what is
// missing, its headers and slow start cost.
// Where no delay wanders all seeds have the same.
func (p *profile) ideal(seed uint64) float64 {
	if p.best > 0 {
		return p.best
	}
	n := p.open(seed, false)
	got := 0.0
	for i := range p.Paths {
		if p.Paths[i].Metered {
			continue
		}
		best := 0.0
		for _, cc := range []string{"cubic", "bbr"} {
			w := &world{rnd: rand.New(rand.NewPCG(seed, 1))}
			there, back := *n.there[i], *n.back[i]
			there.w, back.w = w, w
			there.free, there.last, back.free, back.last = 0, 0, 0, 0
			came := uint64(0)
			w.now = 1e9
			for range profileFew {
				t := newTCP(w, &there, &back)
				t.cc, t.lowat = cc, 1<<20
				t.srtt = there.delay + back.delay
				t.minRTT, t.vari = t.srtt, t.srtt/2
				last := uint64(0)
				t.ready = func(upTo uint64) { came += upTo - last; last = upTo }
				t.writable = func() { t.write(2 << 20) }
				w.at(w.now, t.writable)
			}
			w.run(w.now + profileSpan)
			best = max(best, float64(came))
		}
		got += best
	}
	share := got / (n.sum * float64(profileSpan))
	if !slices.ContainsFunc(p.Paths, func(q profilePath) bool { return q.Jitter != nil }) {
		p.best = share
	}
	return share
}

// lossless says that the profile's paths lose nothing by chance, are theirs alone, and stay.
func (p *profile) lossless() bool {
	for i := range p.Paths {
		q := &p.Paths[i]
		if q.Metered || q.Loss != nil || q.Burst != nil || q.Up != (figures{}) || q.Down != (figures{}) {
			return false
		}
	}
	return len(p.Events) == 0 && len(p.Background) == 0
}
