package engine

import "testing"

// What a stream whose window is full waits for goes once more by a nearer path that has nothing to do:
// not while something else waits or is under way there, nor before that path would have brought it, nor
// where little is held or the other path is about as near.
func TestRestingPathHasWhatIsMissing(t *testing.T) {
	const sent, missing = int64(1e9), 5
	for _, c := range []struct {
		name   string
		after  int64
		held   int // segments that are there behind what is missing
		change func(near, far *Path, s *Engine)
		want   bool
	}{
		{name: "it rests", after: 25e6, held: 1000, want: true},
		{name: "it would not have brought it yet", after: 15e6, held: 1000},
		{name: "little is held", after: 25e6, held: 10},
		{"it has something to do", 25e6, 1000, func(near, _ *Path, _ *Engine) { near.subs[0].tx.outstanding = 10000 }, false},
		{"it is out of use", 25e6, 1000, func(near, _ *Path, _ *Engine) { near.state = PathDark }, false},
		{"it is to rest", 25e6, 1000, func(near, _ *Path, _ *Engine) { near.cfg.Metered = true }, false},
		{"it is hardly nearer", 25e6, 1000, func(_, far *Path, _ *Engine) { far.rtt, far.srtt = 30e6, 0 }, false},
		{"a queue makes the other one far", 25e6, 1000, func(_, far *Path, _ *Engine) { far.rtt, far.srtt = 20e6, 60e6 }, true},
		{"it is there as well", 25e6, 1000, func(_, _ *Path, s *Engine) { s.held.out.At(s.held.out.Head).On |= arrived }, false},
		{"something else waits", 25e6, 1000, func(_, _ *Path, s *Engine) {
			s.Send(&Source{}, testPacket(choosyFar, choosyFar, 1, 100), sent)
		}, false},
	} {
		s := New(true, ModeAuto, nil, 0)
		s.Establish(1)
		near, far := s.AddPath(PathConfig{}, -1), s.AddPath(PathConfig{}, -1)
		for _, p := range []*Path{near, far} {
			s.Attach(NewSubflow(nil, p, s.Epoch(), 0), 0)
		}
		near.rtt, far.rtt = 20e6, 60e6
		for range missing {
			holdBy(s, far.subs[0], true)
		}
		for range c.held {
			s.held.out.At(holdBy(s, near.subs[0], true)).On |= arrived
		}
		near.subs[0].acked = near.subs[0].produced
		if c.change != nil {
			c.change(near, far, s)
		}
		slow := behind(s, sent+c.after)
		if want := map[bool]*Path{true: far}[c.want]; slow != want {
			t.Errorf("%s: %v", c.name, slow)
		}
		if slow == nil {
			continue
		}
		s.Assign(sent + c.after)
		s.Assign(sent + c.after)
		if n := len(near.subs[0].pending); n != missing || len(far.subs[0].pending) != 0 {
			t.Errorf("%s: %d go by it, want %d", c.name, n, missing)
		}
	}
}

// A stream's first packets go by no subflow more of a path where what it was given stands in a queue of a
// tenth of a second, unless it has shown to be more than thin.
func TestLadenPathIsSpared(t *testing.T) {
	for _, c := range []struct {
		name   string
		out    int
		proven float64 // Mbit/s
		queue  int64
		want   uint64
	}{
		{"nothing is known", 40e3, 0, 0, 0b11},
		{"a queue stands", 40e3, 0.2, 200e6, 0b01},
		{"a short one", 40e3, 0.2, 50e6, 0b11},
		{"little is under way", 20e3, 0.2, 200e6, 0b11},
		{"it brings more", 40e3, 2, 200e6, 0b11},
	} {
		s := New(true, ModeAuto, nil, 0)
		s.Establish(1)
		p := s.AddPath(PathConfig{}, -1)
		for range 2 {
			s.Attach(NewSubflow(nil, p, s.Epoch(), 0), 0)
		}
		p.proven = c.proven * mbit
		p.delay.Add(1, 5e6, 5e6)
		p.delay.Add(2, 5e6+c.queue, 5e6)
		s.choose.list(1e9)
		p.subs[0].tx.outstanding = c.out
		if got := spared(&s.choose, 0b11, 1e9); got != c.want {
			t.Errorf("%s: %b, want %b", c.name, got, c.want)
		}
	}
}
