package engine

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/mptcp"
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

// A write to a stale subflow is no sign of life.
func TestWriteIsNoProgress(t *testing.T) {
	s := heldBy(1)
	f := s.subs[0]
	s.stall(f, 2e9, overdue)
	sn := holdBy(s, f, false)
	batch, _ := s.Take(f, nil)
	s.Wrote(f, 3e9, batch, 100, false, false)
	if s.watch(f, 3e9); !f.state.Stale() || f.progress != 0 {
		t.Errorf("%v, progress at %d after segment %d was written", f.state, f.progress, sn)
	}
}

// Where something on the way ends TCP, a kernel's acknowledgement is not the
// peer's: without a Data ACK the segment goes again, elsewhere, and the subflow
// has to be answered by the peer itself.
func TestAcknowledgedButMissing(t *testing.T) {
	s := heldBy(2)
	f, other := s.subs[0], s.subs[1]
	first, second := holdBy(s, f, true), holdBy(s, f, true)
	third := holdBy(s, other, true)
	f.acknowledge(&s.held.out, 2e9, 200)
	other.acknowledge(&s.held.out, 2e9, 100)
	tick := func(now int64) {
		for _, f := range s.subs {
			f.heard, f.progress = now, now
		}
		s.Tick(now, 0, 0)
	}
	tick(2e9)
	tick(2e9 + dataAckTime - 1)
	if len(s.held.redo) != 0 || f.state != Moving {
		t.Fatalf("segments %v go again too early", s.held.redo)
	}
	tick(2e9 + dataAckTime)
	if want := []uint64{first, second}; !slices.Equal(s.held.redo, want) || f.state != Unproven || other.state != Moving {
		t.Fatalf("segments %v go again, want %v; %v and %v", s.held.redo, want, f.state, other.state)
	}
	if s.held.out.At(first).On&arrived != 0 || s.held.out.At(third).On&arrived == 0 {
		t.Error("the wrong segments count as there")
	}
	f.tx.kernel = true
	f.progress = 4e9 // the kernel beside us has the question
	if s.watch(f, 4e9); !f.state.Stale() {
		t.Error("in use again before the peer answered")
	}
	var x mptcp.Experimental
	x.Type = probePong
	x.SetPayload(binary.BigEndian.AppendUint64(nil, uint64(f.probeSent)))
	s.Probe(f, &x, 4e9)
	if s.watch(f, 4e9); f.state != Moving {
		t.Error("the peer has answered")
	}
}

// A Data ACK that is only late asks nobody.
func TestDataAckInTime(t *testing.T) {
	s := heldBy(1)
	f := s.subs[0]
	for i := range uint64(5) {
		holdBy(s, f, true)
		now := int64(2e9 + i*dataAckTime)
		f.acknowledge(&s.held.out, now, 100*(i+1))
		seek(s, now)
		s.held.out.Ack(100 * (i + 1))
	}
	if len(s.held.redo) != 0 || f.state != Moving {
		t.Errorf("segments %v go again", s.held.redo)
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

// A path that brings nothing any more while another does may be dead without a sign of it:
// Data ACKs go by one that is there.
func TestDataAckLeavesSilentPaths(t *testing.T) {
	s := heldBy(2)
	near, far := s.subs[0], s.subs[1]
	near.tx.srtt, far.tx.srtt = 10e6, 50e6
	near.path.heard, far.path.heard = 1e9, 1e9+ackFresh
	if s.AckBy() != near {
		t.Error("not by the nearest path, which has just brought something")
	}
	far.path.heard++
	if s.AckBy() != far {
		t.Error("by a path that is silent while another is not")
	}
	far.path.cfg.Metered = true
	if s.AckBy() != near {
		t.Error("by a metered path although another is up")
	}
}

// Data ACKs spare a path that is to rest, however near it is.
func TestDataAckSparesMeteredPaths(t *testing.T) {
	s := heldBy(2)
	near, far := s.subs[0], s.subs[1]
	near.tx.srtt, far.tx.srtt = 10e6, 50e6
	if s.AckBy() != near {
		t.Error("not by the nearest path")
	}
	near.path.cfg.Metered = true
	if s.AckBy() != far {
		t.Error("by a metered path although another is up")
	}
	far.state = Stalled
	if s.AckBy() != near {
		t.Error("not by the only path")
	}
}

// Where a whole path is acknowledged by something on the way and the peer is silent, none
// of its subflows is in use, whatever kernels acknowledge: the session knows at once that
// nothing moves. The peer's own answer brings them back.
func TestAcknowledgedBySomethingElse(t *testing.T) {
	s := heldBy(1)
	p, f := s.paths[0], s.subs[0]
	rest := &Subflow{path: p, slot: 1} // has nothing under way
	rest.lowat = MinLowat
	p.subs = append(p.subs, rest)
	s.subs = append(s.subs, rest)
	for _, f := range s.subs {
		f.tx.kernel, f.tx.valid, f.tx.srtt = true, true, 1e6
	}
	holdBy(s, f, true)
	f.acknowledge(&s.held.out, 2e9, 100)
	for now := int64(2e9); now < 2e9+dataAckTime+darkAfter+20e6; now += TickBusy {
		f.progress, rest.progress = now, now // as the kernel beside us says
		s.Tick(now, TickBusy, 0)
	}
	if s.Alive() || f.state != Unproven || rest.state != Unproven || p.state != PathDark {
		t.Fatalf("%v, %v, and the path is %v", f.state, rest.state, p.state)
	}
	now := int64(2e9 + dataAckTime + darkAfter + 40e6)
	for _, f := range s.subs {
		var x mptcp.Experimental
		x.Type = probePong
		x.SetPayload(binary.BigEndian.AppendUint64(nil, uint64(f.probeSent)))
		s.Probe(f, &x, now)
		f.heard, f.progress = now, now
	}
	s.Tick(now+TickBusy, TickBusy, 0)
	if f.state != Moving || rest.state != Moving || p.state != PathUp {
		t.Errorf("the peer has answered: %v, %v, %v", f.state, rest.state, p.state)
	}
}

// What is doubted carries nothing until the peer answers by it, and what it holds goes again.
func TestDoubt(t *testing.T) {
	s := heldBy(2)
	f, other := s.subs[0], s.subs[1]
	sn := holdBy(s, f, true)
	f.Doubt(s, 2e9)
	if f.state != Unproven || f.probeSent != 2e9 || other.state != Moving || !slices.Equal(s.held.redo, []uint64{sn}) {
		t.Fatalf("%v, asked at %d; segments %v go again", f.state, f.probeSent, s.held.redo)
	}
	f.state = Ended
	if f.Doubt(s, 3e9); f.state != Ended {
		t.Error("one that has ended is doubted")
	}
}

// Where the subflows that carry a path's bulk are doubted, others of the path carry it at
// once, and they do when one more comes.
func TestDoubtedBulkGoesOn(t *testing.T) {
	s := heldBy(5)
	p := s.subs[0].path
	for _, f := range s.subs[1:] {
		f.path = p
	}
	p.subs = s.subs[:4]
	carry := func(when string, want ...int) {
		t.Helper()
		var slots []int
		for _, f := range p.subs {
			if f.bulk {
				slots = append(slots, f.slot)
			}
		}
		if !slices.Equal(slots, want) {
			t.Errorf("%s: %v carry bulk, not %v", when, slots, want)
		}
	}
	p.arrange()
	carry("at first", 0, 1)
	s.subs[0].Doubt(s, 2e9)
	carry("one is doubted", 1, 2)
	s.subs[1].Doubt(s, 2e9)
	carry("both are", 2, 3)
	p.subs = s.subs
	p.arrange()
	carry("another one comes", 2, 3)
	for _, f := range s.subs[2:] {
		f.Doubt(s, 2e9)
	}
	carry("all are", 0, 1)
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
