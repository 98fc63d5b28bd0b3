package engine

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/mpsocks/mpsocks/mux/mptcp"
)

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
