package engine

import (
	"slices"
	"testing"

	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// The largest flows are listed, each with the subflows it lately used, however
// often somebody looks.
func TestSnapshotFlows(t *testing.T) {
	s := heldBy(3)
	s.table.flows = map[packet.Key]*fq.Flow{}
	const n, most = 1000, 64
	for i := range n {
		k := packet.Key{SrcPort: uint16(i)}
		s.table.flows[k] = &fq.Flow{Key: k, Octets: uint64(i * 7919 % n)}
	}
	busy := s.table.largest(1)[0]
	busy.Used.Turn(1)
	busy.Used.Now = 1<<0 | 1<<2
	for range 2 {
		r := Describe(s, 2, most)
		if len(r.Flows) != most || r.FlowCount != n {
			t.Fatalf("%d flows of %d", len(r.Flows), r.FlowCount)
		}
		for i, f := range r.Flows {
			if f.Octets != uint64(n-1-i) {
				t.Fatalf("flow %d has %d bytes", i, f.Octets)
			}
		}
		if !slices.Equal(r.Flows[0].On, []FlowOn{{Slot: 0}, {Slot: 2}}) {
			t.Errorf("on %v", r.Flows[0].On)
		}
	}
}

// A subflow may be there a moment longer than its path.
func TestSnapshotWhilePathsChange(t *testing.T) {
	s := heldBy(2)
	s.paths = nil
	if r := Describe(s, 2, 1); len(r.Paths) != 0 || len(r.Subflows) != 2 {
		t.Errorf("%d paths, %d subflows", len(r.Paths), len(r.Subflows))
	}
}
