package engine

import (
	"math/rand/v2"
	"testing"
)

// A talk has two paths of 20 and 30 ms and sends a datagram of 200 bytes now and then,
// both ways.
type talk struct {
	w           *world
	a, b        *host
	there, back [2]*line
	every       int64
	sent        []int64 // when each was, by the caller,
	answers     []int64 // and by the other end
}

func newTalk(mode Mode, every int64) *talk {
	c := &talk{w: &world{rnd: rand.New(rand.NewPCG(7, 1))}, every: every}
	c.a, c.b = newHost(c.w, true, 2), newHost(c.w, false, 2)
	for i, delay := range []int64{10e6, 15e6} {
		c.there[i] = &line{w: c.w, rate: 50 * mbit, delay: delay, queue: 50e6}
		c.back[i] = &line{w: c.w, rate: 50 * mbit, delay: delay, queue: 50e6}
		for _, h := range []*host{c.a, c.b} {
			h.e.SetPolicy(mode, nil, 120e9)
			h.paths[i] = h.e.AddPath(PathConfig{Name: string(rune('a' + i))}, -1)
		}
		for range 2 {
			dial(c.w, c.a, c.b, i, c.there[i], c.back[i])
		}
	}
	c.w.run(1e9)
	return c
}

// last lets it go on for so long, and returns how many datagrams the caller sent and
// how many packets went by each path.
func (c *talk) last(long int64) (datagrams int, by [2]int) {
	was, from := [2]int{c.there[0].count, c.there[1].count}, len(c.sent)
	c.a.smallFlows(1, c.w.now, c.w.now+long, c.every, &c.sent)
	c.b.smallFlows(1, c.w.now, c.w.now+long, c.every, &c.answers)
	c.w.run(c.w.now + long)
	for i := range by {
		by[i] = c.there[i].count - was[i]
	}
	return len(c.sent) - from, by
}

// late is the longest that a datagram since then took.
func (c *talk) late(since int64) (most int64) {
	for n, at := range c.sent {
		if at < since {
			continue
		}
		came, ok := c.b.small[uint64(n)]
		if !ok {
			return 1 << 62
		}
		most = max(most, came-at)
	}
	return most
}

// The copies of a steady flow go five at once; where something was lost, where everything
// is to go twice or the next one is not due soon, each goes with its original.
func TestCopiesOfASteadyFlowGoTogether(t *testing.T) {
	for _, x := range []struct {
		name        string
		mode        Mode
		every       int64
		loss        float64
		least, most float64 // packets for each datagram by the path of the copies, TCP's acknowledgements too
	}{
		{"steady", ModeAuto, 2e6, 0, 0.3, 0.6},
		{"steady, lossy", ModeAuto, 2e6, 0.01, 1.9, 5},
		{"all twice", ModeRedundant, 2e6, 0, 1.9, 2.5},
		{"slow", ModeAuto, 8e6, 0, 1.9, 2.5},
	} {
		c := newTalk(x.mode, x.every)
		for _, l := range c.there {
			l.loss = x.loss
		}
		c.last(2e9)
		n, by := c.last(2e9)
		if each := float64(by[1]) / float64(n); each < x.least || each > x.most {
			t.Errorf("%s: %.2f packets with copies for each of %d datagrams, want %.2f to %.2f", x.name, each, n, x.least, x.most)
		}
	}
}

// Where the path of the originals dies, the copies that waited are not later for it than
// gatherTime, and what is sent from then on hardly is.
func TestCopiesThatWaitedWhenAPathDies(t *testing.T) {
	c := newTalk(ModeAuto, 2e6)
	c.last(2e9)
	dead := c.w.now - 20e6 // what is on its way is lost as well
	c.there[0].dead, c.back[0].dead = true, true
	c.last(1e9)
	c.w.run(c.w.now + 1e9)
	if late := c.late(dead); late > 15e6+gatherTime+2e6 {
		t.Errorf("a datagram took %.1f ms, of which the other path's way is 15", float64(late)/1e6)
	}
}

// A burst has its copies at once, and what waits when a steady flow pauses is not left.
func TestCopiesAtThePause(t *testing.T) {
	c := newTalk(ModeAuto, 1e6)
	if n, by := c.last((gatherRun / 2) * 1e6); by[1] < n*9/10 {
		t.Errorf("%d packets with copies for a burst of %d datagrams", by[1], n)
	}
	c.w.run(c.w.now + 50e6)
	c.last(503e6)
	c.w.run(c.w.now + TickCalm + 1e6)
	for _, h := range []*host{c.a, c.b} {
		for _, f := range h.e.subs {
			if len(f.pending) > 0 {
				t.Errorf("%d copies still wait", len(f.pending))
			}
		}
	}
}
