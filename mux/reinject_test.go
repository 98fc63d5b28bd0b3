package mux

import (
	"slices"
	"testing"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/reseq"
)

// heldBy makes a session of n subflows, each on a path of its own.
func heldBy(n int) *Session {
	s := &Session{}
	s.reseq.order = reseq.New(s.ordersByRule)
	for i := range n {
		p := &path{index: i}
		s.paths = append(s.paths, p)
		f := &subflow{s: s, path: p, slot: i, replace: make(chan struct{})}
		f.tx.lowat = minLowat
		s.subs = append(s.subs, f)
	}
	return s
}

// holdBy puts a new segment into the subflow's next batch, or, when written, into
// its connection.
func holdBy(s *Session, f *subflow, written bool) uint64 {
	sn := s.inflight.Push(buf.Get(100))
	sg := s.inflight.At(sn)
	sg.On |= 1 << f.slot
	if written {
		f.sentRing.push(sentMark{sn: sn, end: f.produced + 100, at: 1e9})
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
	f.stall(2e9)
	if want := []uint64{sent, waits}; !slices.Equal(s.redo, want) {
		t.Fatalf("segments %v go again, want %v", s.redo, want)
	}
	if sg := s.inflight.At(waits); sg.Pins != 0 || sg.On != 0 || len(f.pending) != 0 || f.pendingSize != 0 {
		t.Errorf("%+v; %d bytes of %v wait", sg, f.pendingSize, f.pending)
	}
	if s.inflight.At(sent).On != 1 {
		t.Error("what was written is not carried any more")
	}
}

// While all are stale, stale ones are given something. The one that moves first
// gets what the others hold.
func TestFirstToMoveRescuesTheOthers(t *testing.T) {
	s := heldBy(2)
	for _, f := range s.subs {
		f.stall(2e9)
	}
	dead := s.subs[0]
	sent, waits := holdBy(s, dead, true), holdBy(s, dead, false)
	s.subs[1].recover(3e9)
	if want := []uint64{sent, waits}; !slices.Equal(s.redo, want) {
		t.Errorf("segments %v go again, want %v", s.redo, want)
	}
}

// The numbers of a session that was renewed mean nothing in the next one.
func TestStallOfAnEarlierSession(t *testing.T) {
	s := heldBy(1)
	f := s.subs[0]
	holdBy(s, f, false)
	s.epoch++
	f.stall(2e9)
	if len(s.redo) != 0 || s.inflight.At(0).Pins != 1 {
		t.Errorf("segments %v go again, %d hold the first", s.redo, s.inflight.At(0).Pins)
	}
}

// A write to a stale subflow is no sign of life.
func TestWriteIsNoProgress(t *testing.T) {
	s := heldBy(1)
	f := s.subs[0]
	f.carrier = &carrier{}
	f.stall(2e9)
	sn := holdBy(s, f, false)
	f.take()
	s.wrote(f, 3e9, false, nil)
	if f.watch(3e9); !f.stale || f.progress != 0 {
		t.Errorf("stale %v, progress at %d after segment %d was written", f.stale, f.progress, sn)
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
	f.acknowledge(2e9, 200)
	other.acknowledge(2e9, 100)
	s.missing(2e9)
	s.missing(2e9 + dataAckTime - 1)
	if len(s.redo) != 0 || f.stale {
		t.Fatalf("segments %v go again too early", s.redo)
	}
	s.missing(2e9 + dataAckTime)
	if want := []uint64{first, second}; !slices.Equal(s.redo, want) || !f.stale || other.stale {
		t.Fatalf("segments %v go again, want %v; stale %v and %v", s.redo, want, f.stale, other.stale)
	}
	if s.inflight.At(first).On&arrived != 0 || s.inflight.At(third).On&arrived == 0 {
		t.Error("the wrong segments count as there")
	}
	f.tx.kernel = true
	f.progress = 4e9 // the kernel beside us has the question
	if f.watch(4e9); !f.stale {
		t.Error("in use again before the peer answered")
	}
	f.probeSent, f.mute = 0, false
	if f.watch(4e9); f.stale {
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
		f.acknowledge(now, 100*(i+1))
		s.missing(now)
		s.inflight.Ack(100 * (i + 1))
	}
	if len(s.redo) != 0 || f.stale {
		t.Errorf("segments %v go again", s.redo)
	}
}

// Data ACKs spare a path that is to rest, however near it is.
func TestDataAckSparesMeteredPaths(t *testing.T) {
	s := heldBy(2)
	near, far := s.subs[0], s.subs[1]
	near.tx.srtt, far.tx.srtt = 10e6, 50e6
	if s.ackSubflow() != near {
		t.Error("not by the nearest path")
	}
	near.path.cfg.Metered = true
	if s.ackSubflow() != far {
		t.Error("by a metered path although another is up")
	}
	far.stale = true
	if s.ackSubflow() != near {
		t.Error("not by the only path")
	}
}
