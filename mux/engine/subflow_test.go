package engine

import (
	"testing"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/sched"
)

// A Data ACK for what was sent again on another subflow frees the marks of the
// stalled one, but does not make it look alive.
func TestDataACKIsNoProgress(t *testing.T) {
	for _, kernel := range []bool{false, true} {
		s := &Engine{}
		f := &Subflow{path: new(Path)}
		f.tx.kernel = kernel
		b := buf.Get(100)
		f.marks.push(sentMark{sn: s.held.out.Push(b), end: 100, at: 1e9})
		f.acknowledge(&s.held.out, 2e9, 0)
		if f.age(2e9) != 1e9 || f.progress != 0 {
			t.Errorf("kernel %v: age %d, progress at %d before anything came", kernel, f.age(2e9), f.progress)
		}
		s.held.out.Ack(100)
		f.acknowledge(&s.held.out, 3e9, 0)
		if f.age(3e9) != 0 || f.progress != 0 {
			t.Errorf("kernel %v: age %d, progress at %d after the Data ACK", kernel, f.age(3e9), f.progress)
		}
		f.acknowledge(&s.held.out, 4e9, 100)
		if f.progress != 4e9 || f.proof != 4e9 {
			t.Errorf("kernel %v: progress at %d after the kernel's acknowledgement", kernel, f.progress)
		}
	}
}

// What arrives behind a gap is a sign of life: a retransmission was lost, and the subflow goes
// on, for some time.
func TestGapIsNoStall(t *testing.T) {
	const begun, trip, late = 1e9, 320e6, 1500e6
	for _, c := range []struct {
		name    string
		sacked  uint64 // more, with each report
		until   int64
		stalled bool
	}{
		{"nothing arrives", 0, late, true},
		{"more and more does", 1448, late, false},
		{"no more does, for a round trip", 1448, late - trip - 100e6, true},
		{"it was never sent again", 1448, maxStall + 100e6, true},
	} {
		s := heldBy(1)
		f := s.subs[0]
		f.produced, f.progress = 0, begun
		holdBy(s, f, true) // out since 1 s
		end := max(int64(late), c.until)
		for at := int64(10e6); at <= end; at += 10e6 {
			r := Report{Written: f.produced, Outstanding: int(f.produced), Full: true, Known: true}
			r.Info = Info{SRTT: trip, RTTVar: 1e6, MinRTT: trip, CWND: 1 << 20, Sacked: c.sacked * uint64(min(at, c.until)/10e6)}
			s.Learn(f, begun+at, &r)
			s.watch(f, begun+at)
		}
		if f.state.Stale() != c.stalled {
			t.Errorf("%s: it is %v", c.name, f.state)
		}
	}
}

// The first write of a subflow may be in the kernel before it is counted: no
// byte is acknowledged then, and not all that will ever be written.
func TestWriteUnderWay(t *testing.T) {
	for _, c := range []struct {
		written uint64
		out     int
		want    uint64
	}{{1000, 300, 700}, {1000, 1000, 0}, {1000, 4000, 0}, {0, 0, 0}} {
		if got := left(c.written, c.out); got != c.want {
			t.Errorf("%d written, %d outstanding: %d acknowledged, want %d", c.written, c.out, got, c.want)
		}
	}
}

// A half that only receives sees no stall of its own: a path that brings
// nothing any more while another does is asked, and then counts as dead soon; so are all of
// them once when much came and nothing comes any more, and have more time to answer.
func TestQuietPathIsAsked(t *testing.T) {
	const now = 10e9
	for _, c := range []struct {
		name           string
		heard, beside  int64
		poured         int64 // when much came last
		metered, stale bool
		rests, asked   bool
	}{
		{"both bring something", now - 10e6, now - 10e6, 0, false, false, false, false},
		{"only the other does", now - 600e6, now - 10e6, 0, false, false, false, true},
		{"and the path is to rest", now - 600e6, now - 10e6, 0, false, false, true, false},
		{"nothing comes at all", now - 600e6, now - 600e6, 0, false, false, false, false},
		{"much came until then", now - 600e6, now - 600e6, now - 700e6, false, false, false, true},
		{"it was asked then", now - 600e6, now - 600e6, now - 1200e6, false, false, false, false},
		{"silent for long", now - 30e9, now - 10e6, 0, false, false, false, false},
		{"metered", now - 600e6, now - 10e6, 0, true, false, false, false},
		{"already stale", now - 600e6, now - 10e6, 0, false, true, false, false},
	} {
		s := &Engine{heard: c.beside, poured: stir{at: c.poured}}
		p := &Path{cfg: PathConfig{Metered: c.metered}, heard: c.heard, woken: !c.rests}
		f := &Subflow{path: p}
		if c.stale {
			f.state = Stalled
		}
		s.subs, p.subs = []*Subflow{f}, []*Subflow{f}
		inquire(s, p, now)
		if asked := f.probeSent != 0 && len(f.control) > 0; asked != c.asked {
			t.Errorf("%s: asked is %v", c.name, asked)
		}
		if wait := f.probeTimeout(now); c.asked && (wait == probeTimeout) != (c.poured != 0) {
			t.Errorf("%s: the answer has %d ms", c.name, wait/1e6)
		}
	}
}

// Another subflow of the path takes the place of one that is lost, without
// waiting for its end.
func TestLostSubflowCarriesNoBulk(t *testing.T) {
	p := &Path{}
	for range 3 {
		p.subs = append(p.subs, &Subflow{path: p})
	}
	bulk := func() (got [3]bool) {
		p.arrange()
		for i, f := range p.subs {
			got[i] = f.bulk
		}
		return got
	}
	if got := bulk(); got != [3]bool{true, true, false} {
		t.Errorf("bulk on %v", got)
	}
	p.subs[0].state = Lost
	if got := bulk(); got != [3]bool{false, true, true} {
		t.Errorf("the first is lost: bulk on %v", got)
	}
}

// Where the kernel does not tell, probes feed the estimates (RFC 6298, Section 2); where
// it does, they are its.
func TestProbesFeedTheEstimates(t *testing.T) {
	var f Subflow
	f.sample(0)
	f.sample(-5)
	if f.tx.valid {
		t.Error("a round trip of nothing counts")
	}
	f.sample(80e6)
	if x := f.tx; !x.valid || x.srtt != 80e6 || x.rttvar != 40e6 || x.minRTT != 80e6 || x.cwnd != sched.StartBytes {
		t.Errorf("after the first: %+v", x)
	}
	f.sample(160e6)
	if x := f.tx; x.srtt != 90e6 || x.rttvar != 50e6 || x.minRTT != 80e6 {
		t.Errorf("after a later one: %+v", x)
	}
	f.sample(40e6)
	if f.tx.minRTT != 40e6 {
		t.Errorf("the least is %d", f.tx.minRTT)
	}
	before := f.tx
	before.kernel, f.tx.kernel = true, true
	f.sample(1e9)
	if f.tx != before {
		t.Error("a probe counts beside the kernel's own measurement")
	}
}

// Beyond MaxPaths addresses share the last path, and a known one finds its own.
func TestPathsAreBounded(t *testing.T) {
	var r roster
	for i := range MaxPaths {
		if p := r.PathOf(uint8(i+1), PathConfig{}); p == nil || p.addrID != uint8(i+1) {
			t.Fatalf("address %d has path %+v", i+1, p)
		}
	}
	if p := r.PathOf(200, PathConfig{}); p != r.paths[MaxPaths-1] || len(r.paths) != MaxPaths {
		t.Errorf("address 200 has %+v of %d paths", p, len(r.paths))
	}
	if p := r.PathOf(3, PathConfig{}); p != r.paths[2] {
		t.Error("a known address has another path")
	}
}
