package gate

import (
	"net/netip"
	"testing"
	"time"
)

func stranger(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func knock(g *Gate, a netip.Addr, now time.Time) bool { ok, _ := g.Knock(a, now); return ok }

// A flood of knocks from the same addresses leaves room for an address that comes for the
// first time, and one that has proved a key is not concerned at all.
func TestKnocksAreShared(t *testing.T) {
	g := NewRated(Places, Share, Reserve, 1000)
	now := time.Unix(1_800_000_000, 0)
	home := netip.MustParseAddr("192.0.2.1")
	p, _ := g.Enter(home, now, func() {}, nil)
	p.Finish(now, [32]byte{1})
	p.Leave()
	let, first, own := 0, 0, 0
	const seconds = 20
	for i := range 5000 * seconds {
		now = now.Add(time.Second / 5000)
		if knock(g, stranger(i%200), now) {
			let++
		}
		if i%500 == 499 && knock(g, stranger(1<<16+i), now) {
			first++
		}
		if i%500 == 0 && knock(g, home, now) {
			own++
		}
	}
	if let > 600*seconds || let < 400*seconds {
		t.Errorf("of 5,000 knocks a second %d were let in, of 1,000 that may", let/seconds)
	}
	if first != 10*seconds || own != 10*seconds {
		t.Errorf("of %d each, %d that came for the first time and %d of one that has proved a key were let in", 10*seconds, first, own)
	}
	if c := g.Counts(); c.Turned < 4000*seconds {
		t.Errorf("%+v", c)
	}
}

// One address that has proved a key has no more than it needs, and what is remembered of
// who has knocked is bounded.
func TestKnocksAreBounded(t *testing.T) {
	g := NewRated(Places, Share, Reserve, 1000)
	now := time.Unix(1_800_000_000, 0)
	home := netip.MustParseAddr("192.0.2.1")
	p, _ := g.Enter(home, now, func() {}, nil)
	p.Finish(now, [32]byte{1})
	p.Leave()
	for i := range 3 * visitors {
		g.Knock(stranger(i), now)
	}
	let := 0
	for range 3 * homeBurst {
		if knock(g, home, now) {
			let++
		}
	}
	if let != homeBurst {
		t.Errorf("%d of one home's at once, while all else is used up", let)
	}
	if n := len(g.knocks.now); n > visitors {
		t.Errorf("%d visitors are remembered", n)
	}
	now = now.Add(3 * fresh)
	g.Knock(stranger(0), now)
	now = now.Add(3 * fresh)
	g.Knock(stranger(0), now)
	if n := len(g.knocks.now) + len(g.knocks.before); n > 2 {
		t.Errorf("%d visitors are remembered after a while", n)
	}
}
