package engine

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// heldBy makes a session of n subflows, each on a path of its own.
func heldBy(n int) *Engine {
	s := &Engine{}
	for i := range n {
		p := &Path{index: i}
		s.paths = append(s.paths, p)
		f := &Subflow{path: p, slot: i}
		f.lowat = MinLowat
		p.subs = []*Subflow{f}
		s.subs = append(s.subs, f)
	}
	return s
}

// holdBy puts a new segment into the subflow's next batch, or, when written, into
// its connection.
func holdBy(s *Engine, f *Subflow, written bool) uint64 {
	sn := s.held.out.Push(buf.Get(100))
	sg := s.held.out.At(sn)
	sg.On |= 1 << f.slot
	if written {
		f.marks.push(sentMark{sn: sn, end: f.produced + 100, at: 1e9})
		f.produced += 100
	} else {
		sg.Pins++
		f.pending = append(f.pending, sn)
		f.pendingSize += 100
	}
	return sn
}

// What a stalled subflow was given while somebody wrote to it goes elsewhere as
// well: nobody can tell when it would be written.
func TestStallGivesUpWhatIsNotWritten(t *testing.T) {
	s := heldBy(2)
	f := s.subs[0]
	sent, waits := holdBy(s, f, true), holdBy(s, f, false)
	s.stall(f, 2e9, overdue)
	if want := []uint64{sent, waits}; !slices.Equal(s.held.redo, want) {
		t.Fatalf("segments %v go again, want %v", s.held.redo, want)
	}
	if sg := s.held.out.At(waits); sg.Pins != 0 || sg.On != 0 || len(f.pending) != 0 || f.pendingSize != 0 {
		t.Errorf("%+v; %d bytes of %v wait", sg, f.pendingSize, f.pending)
	}
	if s.held.out.At(sent).On != 1 {
		t.Error("what was written is not carried any more")
	}
}

// While all are stale, stale ones are given something. The one that moves first
// gets what the others hold.
func TestFirstToMoveRescuesTheOthers(t *testing.T) {
	s := heldBy(2)
	for _, f := range s.subs {
		s.stall(f, 2e9, overdue)
	}
	dead := s.subs[0]
	sent, waits := holdBy(s, dead, true), holdBy(s, dead, false)
	s.recover(s.subs[1], 3e9)
	if want := []uint64{sent, waits}; !slices.Equal(s.held.redo, want) {
		t.Errorf("segments %v go again, want %v", s.held.redo, want)
	}
}

// What a path held is counted as moved when all of it has gone again, from when the
// first of it was sent there.
func TestMovedSince(t *testing.T) {
	s := heldBy(2)
	s.choose.e = s
	f, other := s.subs[0], s.subs[1]
	holdBy(s, f, true) // at 1 s
	holdBy(s, f, true)
	other.state = Stalled
	s.stall(f, 1.03e9, overdue)
	f.path.state = PathDark
	if took, at := f.path.Moved(); took != 0 || at != 0 {
		t.Errorf("moved in %d ns at %d, though no other path was up", took, at)
	}
	other.state = Moving
	s.Assign(1.047e9)
	if took, at := f.path.Moved(); took != 47e6 || at != 1.047e9 || len(s.held.redo) != 0 {
		t.Errorf("moved in %d ns at %d; %v wait", took, at, s.held.redo)
	}
	if took, _ := other.path.Moved(); took != 0 {
		t.Errorf("the other path's moved in %d ns", took)
	}
	s.stall(other, 2e9, overdue)
	s.Renew(0)
	if other.path.waits != 0 {
		t.Error("what waited is forgotten with the session")
	}
}

// The numbers of a session that was renewed mean nothing in the next one.
func TestStallOfAnEarlierSession(t *testing.T) {
	s := heldBy(1)
	f := s.subs[0]
	holdBy(s, f, false)
	s.epoch++
	s.stall(f, 2e9, overdue)
	if len(s.held.redo) != 0 || s.held.out.At(0).Pins != 1 {
		t.Errorf("segments %v go again, %d hold the first", s.held.redo, s.held.out.At(0).Pins)
	}
}

// What goes again fills no subflow that is kept for small flows, where another of the path
// carries bulk; and what is small does not wait for that.
func TestBulkGoesAgainByBulk(t *testing.T) {
	s := heldBy(1)
	for i := 1; i < 4; i++ {
		f := &Subflow{path: s.paths[0], slot: i, lowat: MinLowat}
		s.paths[0].subs = append(s.paths[0].subs, f)
		s.subs = append(s.subs, f)
	}
	dead, bulk := s.subs[3], s.subs[0]
	dead.state, bulk.bulk = Stalled, true
	total := 0
	for i := range 8 {
		n := 16000
		if i == 7 {
			n = 200
		}
		sn := s.held.out.Push(buf.Get(n))
		s.held.out.At(sn).On = 1 << dead.slot
		s.held.redo = append(s.held.redo, sn)
		total += n
	}
	r := &s.choose
	r.e = s
	r.list(2e9)
	s.held.reinject(r, 2e9)
	thin := 0
	for _, f := range s.subs[1:3] {
		thin += f.pendingSize
	}
	if thin > thinOwn || thin+bulk.pendingSize < 200 || len(s.held.redo) == 0 {
		t.Errorf("%d bytes by thin subflows, %d by the one for bulk, %d segments wait", thin, bulk.pendingSize, len(s.held.redo))
	}
	for _, sn := range s.held.redo {
		if s.held.out.At(sn).N < 1000 {
			t.Error("what is small waits for bulk")
		}
	}
	bulk.bulk = false // it is not there any more
	before := len(s.held.redo)
	r.list(2e9)
	if s.held.reinject(r, 2e9); len(s.held.redo) >= before {
		t.Error("nothing goes again where no subflow carries bulk")
	}
}

// What waits to go again is in order and once there, whatever is added and however often.
func TestRedoIsInOrder(t *testing.T) {
	s := heldBy(1)
	for range 1000 {
		holdBy(s, s.subs[0], true)
	}
	h, want := &s.held, []uint64(nil)
	for range 200 {
		n := len(h.redo)
		for range rand.IntN(20) {
			sn := uint64(rand.IntN(1000))
			h.queue(sn)
			want = append(want, sn)
		}
		h.order(n)
	}
	slices.Sort(want)
	if want = slices.Compact(want); !slices.Equal(h.redo, want) {
		t.Errorf("%d segments go again, want %d", len(h.redo), len(want))
	}
}
