package engine

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// twoAndTwo makes a session of two paths with two subflows each, whose kernels tell.
func twoAndTwo(srtt int64) *Engine {
	s := &Engine{}
	s.choose.e = s
	for i := range 2 {
		p := &Path{index: i}
		s.paths = append(s.paths, p)
		for range 2 {
			f := &Subflow{path: p, slot: len(s.subs)}
			f.lowat = MinLowat
			f.tx.kernel, f.tx.valid, f.tx.srtt, f.tx.minRTT = true, true, srtt, srtt
			p.subs = append(p.subs, f)
			s.subs = append(s.subs, f)
		}
	}
	return s
}

// reply answers the question that waits on a subflow.
func reply(s *Engine, f *Subflow, now int64) {
	var x mptcp.Experimental
	x.Type = probePong
	x.SetPayload(binary.BigEndian.AppendUint64(nil, uint64(f.probeSent)))
	f.heard = now
	s.Probe(f, &x, now)
}

// Silence behind something that acknowledges for the peer is known soon where another path
// shows that the peer is there, for all subflows of the path at once: what its neighbours
// hold goes again with what the first one does, and not to them.
func TestSilenceBehindAnAcceleratorIsSeen(t *testing.T) {
	s := twoAndTwo(1e6)
	dead, well := s.paths[0], s.paths[1]
	first, second := holdBy(s, dead.subs[0], true), holdBy(s, dead.subs[1], true)
	begin := int64(2e9)
	for _, f := range s.subs {
		f.heard, f.proof = begin, begin
	}
	for _, f := range dead.subs {
		f.acknowledge(&s.held.out, begin, 100)
	}
	at := int64(0)
	for now := begin; now < begin+400e6; now += TickBusy {
		for _, f := range s.subs {
			f.progress = now // as kernels say
		}
		for _, f := range well.subs {
			if f.probeSent != 0 {
				reply(s, f, now)
			}
		}
		if s.Tick(now, TickBusy, 0); at == 0 && len(s.held.redo) > 0 {
			at = now - begin
			if want := []uint64{first, second}; !slices.Equal(s.held.redo, want) {
				t.Errorf("segments %v go again, want %v", s.held.redo, want)
			}
			if dead.subs[0].Moves() || dead.subs[1].Moves() || !well.subs[0].Moves() {
				t.Error("not the path that is silent is left, or not all of it")
			}
		}
	}
	if at == 0 || at > lackAsk+lackTime+20e6 {
		t.Errorf("what is lost goes again after %d ms", at/1e6)
	}
	if dead.state != PathDark || well.state != PathUp {
		t.Errorf("the paths are %v and %v", dead.state, well.state)
	}
	for _, f := range dead.subs { // the peer is there again
		reply(s, f, begin+500e6)
		f.progress = begin + 501e6
	}
	s.Tick(begin+500e6, TickBusy, 0)
	s.Tick(begin+505e6, TickBusy, 0)
	if dead.state != PathUp || !dead.subs[0].Moves() {
		t.Errorf("the peer has answered: %v, %v", dead.state, dead.subs[0].state)
	}
}

// A path whose packets all go by another one as well, and by which nothing comes any more,
// is known to be dead soon although a kernel acknowledges all that is sent: its answer is
// missed while the other's comes. Where it answers, or where the other is silent too,
// nothing is believed so soon.
func TestQuietPathBehindAnAccelerator(t *testing.T) {
	for name, c := range map[string]struct {
		taken, answers, alone, dark bool
	}{
		"silent": {taken: true, dark: true}, "answers": {taken: true, answers: true}, "all silent": {taken: true, alone: true},
		"the question is on its way": {},
	} {
		s := twoAndTwo(1e6)
		quiet, well := s.paths[0], s.paths[1]
		begin := int64(2e9)
		for _, f := range s.subs {
			f.heard, f.proof = begin, begin
		}
		at := int64(0)
		for now := begin; now < begin+quietAfter+quietTimeout-TickBusy; now += TickBusy {
			for _, f := range s.subs {
				if f.progress, f.proof = now, now; f.probeSent != 0 && c.taken {
					f.acked = f.probeEnd + 1 // as kernels say
				}
			}
			for _, f := range well.subs {
				if !c.alone || now < begin+quietAfter {
					f.heard = now
				}
			}
			for _, f := range quiet.subs {
				if c.answers && f.probeSent != 0 {
					reply(s, f, now)
				}
			}
			if s.Tick(now, TickBusy, 0); at == 0 && quiet.state == PathDark {
				at = now - begin
			}
		}
		if (at != 0) != c.dark || at > quietAfter+lackTime+darkAfter+30e6 {
			t.Errorf("%s: dark after %d ms", name, at/1e6)
		}
		if well.state != PathUp {
			t.Errorf("%s: the other path is %v", name, well.state)
		}
	}
}

// A Data ACK that is late says nothing where the peer answers by the same subflow, nor
// where nothing is heard of it at all, until much later.
func TestLateDataAckIsNoSilence(t *testing.T) {
	for _, answers := range []bool{true, false} {
		s := twoAndTwo(1e6)
		f := s.subs[0]
		holdBy(s, f, true)
		begin := int64(2e9)
		f.acknowledge(&s.held.out, begin, 100)
		for now := begin; now < begin+dataAckTime; now += TickBusy {
			for _, g := range s.subs {
				g.progress = now
				if answers && g.probeSent != 0 {
					reply(s, g, now)
				}
			}
			s.Tick(now, TickBusy, 0)
		}
		if len(s.held.redo) != 0 || f.state != Moving {
			t.Errorf("answered %v: segments %v go again, and it is %v", answers, s.held.redo, f.state)
		}
	}
}

// The round trip to what acknowledges for the peer is not that to the peer: a satellite
// behind an accelerator is as far as the answers of the peer say, and its Data ACKs have
// the time that they need.
func TestRoundTripBehindAnAccelerator(t *testing.T) {
	s := heldBy(1)
	p, f := s.paths[0], s.subs[0]
	const near, far = int64(2e6), int64(600e6)
	report := func(now int64) {
		s.Learn(f, now, &Report{Outstanding: -1, Full: true, Known: true, Info: Info{SRTT: near, RTTVar: 1e6, MinRTT: near, CWND: 1 << 16}})
	}
	now := int64(2e9)
	report(now)
	for range hiddenProbes {
		f.ping(now)
		now += far
		reply(s, f, now)
	}
	report(now)
	if f.tx.srtt < far || f.tx.minRTT < far {
		t.Fatalf("a round trip of %d ms is taken for %d", far/1e6, f.tx.srtt/1e6)
	}
	begin := now
	holdBy(s, f, true)
	f.acknowledge(&s.held.out, begin, 100)
	for ; now < begin+far+30e6; now += TickBusy {
		f.progress = now
		if s.Tick(now, TickBusy, 0); f.state != Moving || p.state != PathUp {
			t.Fatalf("%v after %d ms", f.state, (now-begin)/1e6)
		}
	}
}

// A kernel that tells what went again, and not what is under way, is believed in that: the
// round trip is the peer's to tell, and progress comes with its answers.
func TestPartialReport(t *testing.T) {
	s := heldBy(1)
	p, f := s.paths[0], s.subs[0]
	f.tx = stats{}
	p.segs, p.resent = 0, 0
	now := int64(2e9)
	report := func(retrans uint64) {
		s.Learn(f, now, &Report{Outstanding: -1, Full: true, Known: true, Partial: true, Info: Info{SRTT: 1e6, Retrans: retrans, Segs: 100}})
	}
	report(0)
	if f.probeSent == 0 || f.tx.valid || f.tx.kernel {
		t.Fatalf("the peer is not asked: %+v", f.tx)
	}
	now += 30e6
	reply(s, f, now)
	report(4)
	if !f.tx.valid || f.tx.kernel || f.tx.srtt != 30e6 || p.segs != 100 || p.resent != 4 || p.lossAt != now {
		t.Errorf("%+v, %d of %d went again, at %d", f.tx, p.resent, p.segs, p.lossAt)
	}
}

// hiddenProbes are enough for the round trip behind an accelerator to be known.
const hiddenProbes = 4
