package engine

import (
	"slices"
	"testing"
	"time"
	"unsafe"
)

// manyHeld is how much a peer that acknowledges nothing has this side hold in the tests below. Their
// bounds in time are some hundred times what is needed, and less than a part of what was.
const manyHeld = 60000

// A peer that has one subflow stall and move again, as often as it likes, does not have all that the
// others hold looked through and sorted for each time.
func TestFlappingSubflow(t *testing.T) {
	s := heldBy(16)
	flapping := s.subs[15]
	for i := range manyHeld {
		holdBy(s, s.subs[i%15], true)
	}
	for _, f := range s.subs[:15] {
		s.stall(f, 2e9, overdue)
	}
	begin := time.Now()
	for range 300 {
		s.stall(flapping, 3e9, overdue)
		s.recover(flapping, 3e9)
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("it took %s", d)
	}
	if len(s.held.redo) != manyHeld || !slices.IsSorted(s.held.redo) {
		t.Errorf("%d segments go again, want %d in order", len(s.held.redo), manyHeld)
	}
	// What a subflow was given while it was stale, and what it holds when it stalls anew, goes again too.
	h := &s.held
	h.forget(nil)
	for sn := h.out.Head; sn < h.out.Tail; sn++ {
		h.out.At(sn).Again = false
	}
	more := holdBy(s, s.subs[0], true)
	s.recover(flapping, 4e9)
	s.stall(flapping, 4e9, overdue)
	s.recover(flapping, 5e9)
	if !slices.Equal(h.redo, []uint64{more}) {
		t.Errorf("segments %v go again, want %d", h.redo, more)
	}
	s.recover(s.subs[0], 6e9)
	if s.stall(s.subs[0], 7e9, overdue); len(h.redo) != manyHeld/15+1 {
		t.Errorf("%d segments go again when it has stalled anew", len(h.redo))
	}
}

// What flows that are for some paths only have to send again is looked at a part at a time, in
// nobody's way, and all of it goes when the path is there again.
func TestManyThatWaitForTheirPath(t *testing.T) {
	s := heldBy(4)
	s.choose.e = s
	r, h := &s.choose, &s.held
	for i := range manyHeld {
		f := s.subs[1+i%2]
		h.out.At(holdBy(s, f, true)).Paths = 1 << f.path.index
	}
	for _, f := range s.subs[1:3] {
		s.stall(f, 2e9, overdue)
	}
	dead := s.subs[3]
	free := holdBy(s, dead, true)
	s.stall(dead, 2e9, overdue)
	pass := func(now int64) (given int) {
		r.list(now)
		h.reinject(r, now)
		for _, f := range s.subs {
			given += len(f.pending)
			for _, sn := range f.pending {
				h.out.Unpin(sn)
			}
			f.pending, f.pendingSize = f.pending[:0], 0
		}
		return given
	}
	if pass(2e9); len(h.redo) != 0 || h.out.At(free).On&1 == 0 {
		t.Error("what may go anywhere waits")
	}
	begin := time.Now()
	for range 3000 {
		if n := pass(2.5e9); n != 0 {
			t.Fatalf("%d went another way", n)
		}
	}
	if d := time.Since(begin); d > time.Second {
		t.Errorf("it took %s", d)
	}
	other := s.subs[3]
	other.path, other.state = s.subs[1].path, Moving
	gone, passes := 0, 0
	for ; gone < manyHeld/2 && passes < 4*manyHeld; passes++ {
		n := pass(2.6e9)
		gone += n
	}
	if gone != manyHeld/2 || len(h.bound) != manyHeld/2 {
		t.Errorf("%d of %d went, %d wait", gone, manyHeld/2, len(h.bound))
	}
}

// Where no subflow takes anything nothing is looked at, however much waits to go again or for its
// Data ACK: a peer that reads nothing had it looked at for each packet that it sent.
func TestNoRoomNoLook(t *testing.T) {
	s := heldBy(3)
	s.choose.e = s
	r, h := &s.choose, &s.held
	for i := range manyHeld {
		f := s.subs[i%2]
		sn := holdBy(s, f, true)
		if i%4 == 1 {
			h.out.At(sn).Paths = 1 << f.path.index
		}
	}
	for _, f := range s.subs[:2] {
		s.stall(f, 2e9, overdue)
	}
	last := s.subs[2]
	for _, f := range s.subs {
		f.blocked = true
	}
	pass := func() {
		r.list(2.5e9)
		h.reinject(r, 2.5e9)
		h.unlock(r, 2.5e9, nil)
	}
	if n := testing.AllocsPerRun(10, pass); n != 0 {
		t.Errorf("%v allocations", n)
	}
	begin := time.Now()
	for range 200000 {
		pass()
	}
	if d := time.Since(begin); d > 3*time.Second/2 {
		t.Errorf("200,000 packets took %s", d)
	}
	last.blocked = false
	if pass(); len(last.pending) == 0 {
		t.Error("nothing goes where there is room")
	}
}

// Many paths by which the peer is silent have what is under way looked through once, and not for
// each of them.
func TestSilentPathsTogether(t *testing.T) {
	took := func(paths int) (least time.Duration) {
		s := heldBy(16)
		s.choose.e = s
		for range manyHeld {
			holdBy(s, s.subs[0], true)
		}
		for _, f := range s.subs[:paths] {
			f.path.doubted, f.state, f.staleAt = 1, Unproven, 1
		}
		least = time.Hour
		for i := range 20 {
			begin := time.Now()
			s.Tick(2e9+int64(i)*TickBusy, TickBusy, 0)
			least = min(least, time.Since(begin))
		}
		return least
	}
	one, many := took(1), took(15)
	if many > 5*one+time.Millisecond/2 {
		t.Errorf("%s for one path, %s for 15", one, many)
	}
}

// What a subflow remembers of what it has sent is charged, and given back.
func TestMarksAreCharged(t *testing.T) {
	s := heldBy(3)
	before := s.Charge(0)
	for range 4 * marksKept {
		sn := holdBy(s, s.subs[0], true)
		for _, f := range s.subs[1:] {
			f.marks.push(sentMark{sn: sn})
		}
	}
	held := s.Charge(0) - before - s.held.out.Held - s.held.out.List()
	if want := 3 * 4 * marksKept * int(unsafe.Sizeof(sentMark{})); held < want || held > 2*want {
		t.Errorf("marks of %d bytes count %d", want, held)
	}
	s.stall(s.subs[0], 2e9, overdue)
	if more := s.Charge(0) - before - s.held.out.Held - s.held.out.List() - held; more < 4*marksKept*8 {
		t.Errorf("%d segments that go again count %d bytes", len(s.held.redo), more)
	}
	s.held.out.Ack(s.held.out.At(s.held.out.Tail-1).DSN + 100)
	for _, f := range s.subs {
		f.settle(&s.held.out)
		if len(f.marks.marks) != 0 {
			t.Errorf("%d marks of nothing", len(f.marks.marks))
		}
	}
}
