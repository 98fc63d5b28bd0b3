package mux

import (
	"slices"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/stream"
)

// The largest flows are listed, each with the subflows it lately used, however
// often somebody looks.
func TestSnapshotFlows(t *testing.T) {
	s := heldBy(3)
	s.start = time.Now()
	s.flows = map[packet.Key]*fq.Flow{}
	s.streams = stream.NewTable(true, nil, nil, 1)
	const n = 1000
	for i := range n {
		k := packet.Key{SrcPort: uint16(i)}
		s.flows[k] = &fq.Flow{Key: k, Octets: uint64(i * 7919 % n)}
	}
	busy := s.largest(1)[0]
	busy.Used.Turn(1)
	busy.Used.Now = 1<<0 | 1<<2
	for range 2 {
		r := s.Snapshot()
		if len(r.Flows) != snapshotFlows || r.FlowCount != n {
			t.Fatalf("%d flows of %d", len(r.Flows), r.FlowCount)
		}
		for i, f := range r.Flows {
			if f.Bytes != uint64(n-1-i) {
				t.Fatalf("flow %d has %d bytes", i, f.Bytes)
			}
		}
		if !slices.Equal(r.Flows[0].Subflows, []int{0, 2}) {
			t.Errorf("on %v", r.Flows[0].Subflows)
		}
	}
}

// A subflow may be there a moment longer than its path.
func TestSnapshotWhilePathsChange(t *testing.T) {
	s := heldBy(2)
	s.start = time.Now()
	s.streams = stream.NewTable(true, nil, nil, 1)
	s.paths = nil
	if r := s.Snapshot(); len(r.Paths) != 0 || len(r.Subflows) != 2 {
		t.Errorf("%d paths, %d subflows", len(r.Paths), len(r.Subflows))
	}
}
