package engine

import (
	"math"
	"slices"
	"testing"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// What a subflow has in its connection and what it was given goes again when it ends.
func TestEndGivesBackTheNextBatch(t *testing.T) {
	s := heldBy(2)
	f := s.subs[0]
	sent, waits := holdBy(s, f, true), holdBy(s, f, false)
	s.Detach(f, 2e9, 0, 0)
	if want := []uint64{sent, waits}; !slices.Equal(s.held.redo, want) {
		t.Fatalf("segments %v go again, want %v", s.held.redo, want)
	}
	if sg := s.held.out.At(waits); sg.Pins != 0 || sg.On != 0 {
		t.Errorf("%+v: still held by a subflow that ended", sg)
	}
}

// A batch that is being written when its subflow ends may not arrive: it goes again, once
// nobody reads it any more.
func TestBatchUnderWayAtTheEnd(t *testing.T) {
	for _, first := range []string{"the end", "the write"} {
		s := heldBy(2)
		f := s.subs[0]
		sn := holdBy(s, f, false)
		if s.Next() != f {
			t.Fatal("not this one's turn")
		}
		batch, _ := s.Take(f, nil)
		end := func() { s.Detach(f, 2e9, 0, 0) }
		if first == "the end" {
			end()
		}
		s.Wrote(f, 2e9, batch, 100, false, first == "the end")
		if first != "the end" {
			end()
		}
		if !slices.Equal(s.held.redo, []uint64{sn}) {
			t.Errorf("%s first: segments %v go again, want %d", first, s.held.redo, sn)
		}
		if sg := s.held.out.At(sn); sg.Pins != 0 || sg.On != 0 {
			t.Errorf("%s first: %+v", first, sg)
		}
	}
}

// A session that was closed holds nothing once its last subflow has ended, whoever still
// refers to it; a writer that comes back later finds no harm.
func TestAClosedSessionHoldsNothing(t *testing.T) {
	s := heldBy(2)
	f, g := s.subs[0], s.subs[1]
	holdBy(s, f, true)
	holdBy(s, f, false)
	holdBy(s, g, true)
	s.Next()
	batch, _ := s.Take(f, nil)
	s.Close()
	s.Detach(g, 2e9, 0, 0)
	if s.held.out.Held == 0 {
		t.Error("it was given back while a subflow was there")
	}
	s.Detach(f, 2e9, 0, 0)
	if n := s.Charge(0); n != 0 || s.held.out.Tail != 0 || len(s.held.redo) != 0 {
		t.Errorf("%d bytes are held; %d segments go again", n, len(s.held.redo))
	}
	s.Wrote(f, 2e9, batch, 100, false, true)
	if s.Acked(f, 1<<40) || len(s.held.redo) != 0 {
		t.Error("the late writer's batch counts")
	}
}

// twoPaths makes an engine with a subflow on each of two paths, that has an endless stream
// to send.
func twoPaths(a, b PathConfig) *Engine {
	s := New(true, ModeAuto, nil, 0)
	s.Establish(1)
	for _, c := range []PathConfig{a, b} {
		s.Attach(NewSubflow(nil, s.AddPath(c, -1), s.Epoch(), 0), 0)
	}
	s.Wake(packet.Key{Proto: packet.ProtoTCP}, endless{1400}, 1)
	return s
}

// write has all that is given written, and acknowledged at once.
func write(s *Engine, now int64) {
	s.Assign(now)
	var next uint64
	for f := s.Next(); f != nil; f = s.Next() {
		batch, control := s.Take(f, nil)
		end := f.produced + uint64(len(control))
		for _, o := range batch {
			end += uint64(FrameHead + o.P.Len())
			next = max(next, o.DSN+uint64(o.P.Len()))
		}
		s.Wrote(f, now, batch, end, false, false)
		s.Learn(f, now, &Report{Written: end})
	}
	s.Acked(s.subs[0], next)
}

// A ration is a stream that has so many packets to send, then no more until it gets more.
type ration struct {
	endless
	left *int
}

func (r ration) Next(most int) *buf.Buffer {
	if *r.left == 0 {
		return nil
	}
	*r.left--
	return r.endless.Next(most)
}

// Weights divide the bytes, also while both paths have room for all.
func TestWeightsDivideBytes(t *testing.T) {
	s := twoPaths(PathConfig{Name: "a", Weight: 3}, PathConfig{Name: "b", Weight: 1})
	left := 0
	k, st := packet.Key{Proto: packet.ProtoTCP}, ration{endless{1400}, &left}
	for now := int64(1e6); now < 400e6; now += 1e6 {
		left = 8
		s.Wake(k, st, now)
		write(s, now)
	}
	a, b := float64(s.paths[0].sent), float64(s.paths[1].sent)
	if b == 0 || math.Abs(a/b-3) > 0.3 {
		t.Errorf("%.0f and %.0f bytes with weights 3 and 1", a, b)
	}
}

// A stream between programs of this machine goes by both of its paths, though neither is ever full
// and one is a few microseconds shorter; one over a network goes by the nearer one as long as that
// takes all.
func TestStreamsWithinTheMachineTakeTurns(t *testing.T) {
	for _, x := range []struct {
		near, far int64 // round trips
		both      bool
	}{{8e3, 12e3, true}, {12e3, 8e3, true}, {8e3, 200e3, false}, {10e6, 12e6, false}} {
		s := New(true, ModeAuto, nil, 0)
		s.Establish(1)
		for _, rtt := range []int64{x.near, x.far} {
			f := NewSubflow(nil, s.AddPath(PathConfig{}, -1), s.Epoch(), 0)
			s.Attach(f, 0)
			s.Learn(f, 1, &Report{Full: true, Known: true, Info: Info{SRTT: rtt, RTTVar: rtt / 2, MinRTT: rtt, CWND: 1 << 20, Rate: 1e9}})
		}
		s.Tick(200e6, 200e6, 0)
		left := 0
		k, st := packet.Key{Proto: packet.ProtoTCP}, ration{endless{SegmentSize}, &left}
		for now := int64(201e6); now < 300e6; now += 1e6 {
			left = 16
			s.Wake(k, st, now)
			s.Assign(now)
			for f := s.Next(); f != nil; f = s.Next() { // the kernel is not asked
				batch, control := s.Take(f, nil)
				next := uint64(0)
				if n := len(batch); n > 0 {
					next = batch[n-1].DSN + SegmentSize
				}
				s.Wrote(f, now, batch, f.produced+uint64(len(batch)*RecordSize+len(control)), false, false)
				s.Acked(f, next)
			}
		}
		a, b := s.paths[0].sent, s.paths[1].sent
		if both := 2*min(a, b) > max(a, b); both != x.both || a+b == 0 {
			t.Errorf("round trips of %d and %d ns: %d and %d bytes", x.near, x.far, a, b)
		}
	}
}

// A subflow that is doubted is asked, and no other.
func TestDoubtedIsAsked(t *testing.T) {
	s := twoPaths(PathConfig{}, PathConfig{})
	s.subs[1].Doubt(s, 5e9)
	if s.subs[0].probeSent != 0 || s.subs[1].probeSent != 5e9 || len(s.subs[1].control) == 0 {
		t.Errorf("asked at %d and %d", s.subs[0].probeSent, s.subs[1].probeSent)
	}
	var o mptcp.Option
	if _, err := o.Parse(s.subs[1].control, false); err != nil || o.Experimental.Type != probePing {
		t.Errorf("%v: %+v", err, o)
	}
}

// A path that is metered or a backup carries nothing while another moves.
func TestRestingPathsRest(t *testing.T) {
	for _, c := range []PathConfig{{Metered: true}, {Backup: true}} {
		s := twoPaths(PathConfig{}, c)
		for now := int64(1e6); now < 50e6; now += 1e6 {
			write(s, now)
		}
		if s.paths[1].sent != 0 || s.paths[0].sent == 0 {
			t.Errorf("%+v: %d bytes, the other %d", c, s.paths[1].sent, s.paths[0].sent)
		}
		s.stall(s.subs[0], 51e6, overdue)
		write(s, 52e6)
		if s.paths[1].sent == 0 {
			t.Errorf("%+v: not used although the other is stale", c)
		}
	}
}

// Data ACKs of other keys mean nothing.
func TestAckOfOtherKeys(t *testing.T) {
	s := heldBy(1)
	holdBy(s, s.subs[0], true)
	s.epoch++
	if s.Acked(s.subs[0], 100) {
		t.Error("taken")
	}
}

// The table of states: what ended stays so, what was lied about needs the peer's answer,
// and whatever is replaced was stale before.
func TestStates(t *testing.T) {
	for s := range states {
		for ev := range events {
			got := s
			got.on(ev)
			switch {
			case s == Ended && got != Ended, ev == ended && got != Ended:
				t.Errorf("%v becomes %v", s, got)
			case (s == Unproven || s == LostUnproven) && ev != answered && !got.Stale() && got != Ended:
				t.Errorf("%v becomes %v by %d without an answer", s, got, ev)
			case got.Replaced() && !s.Stale():
				t.Errorf("%v becomes %v", s, got)
			case s == Moving && got.Stale() != (ev == overdue || ev == missing):
				t.Errorf("%v becomes %v by %d", s, got, ev)
			}
		}
	}
	var p PathState
	p.dark(true)
	p.capped(true)
	if p.dark(false); p != PathFull {
		t.Errorf("a path over its cap is %v", p)
	}
	if p.capped(false); p != PathUp {
		t.Errorf("a path under its cap again is %v", p)
	}
}
