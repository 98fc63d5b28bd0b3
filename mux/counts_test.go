package mux

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mpsocks/mpsocks/mux/fq"
)

// Sums have every field and every reason, also those that nobody has counted.
func TestCountsAdd(t *testing.T) {
	var all Counts
	all.Add(&Counts{})
	zero := map[string]uint64{}
	for _, reason := range fq.DropNames {
		zero[reason] = 0
	}
	if diff := cmp.Diff(Counts{Drops: zero}, all); diff != "" {
		t.Error(diff)
	}
	one := Counts{Renewals: 1, Copied: 2, Reinjected: 3, Repeats: 4, Restored: 5, Expired: 6, Drops: map[string]uint64{fq.DropNames[0]: 7, "no reason of ours": 8}}
	all.Add(&one)
	all.Add(&one)
	want := Counts{Renewals: 2, Copied: 4, Reinjected: 6, Repeats: 8, Restored: 10, Expired: 12, Drops: zero}
	want.Drops[fq.DropNames[0]] = 14
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
	if one.Drops[fq.DropNames[0]] != 7 {
		t.Error("what is added has changed")
	}
}

// What a session has counted is what its snapshot says, on both halves, and stays when it
// has ended.
func TestCountsOfSession(t *testing.T) {
	n := newLoopTunnel(t, 2, 1, nil)
	n.send(300, 2000, 200, nil)
	n.near.wait(t, 300)
	far := n.listener.Sessions()[0]
	for name, s := range map[string]*Session{"client": n.client.Session(), "server": far} {
		snap, got := s.Snapshot(), CountsOf(s)
		if got.Copied < snap.Copied || got.Reinjected < snap.Reinjected || got.Repeats < snap.Repeats || got.Renewals != 0 || len(got.Drops) != len(fq.DropNames) {
			t.Errorf("the %s has counted %+v, and its snapshot says %d, %d, %d", name, got, snap.Copied, snap.Reinjected, snap.Repeats)
		}
	}
	before := CountsOf(far)
	n.client.Session().Close(ErrClosed)
	eventually(t, "the session ends", func() bool { return len(n.listener.Sessions()) == 0 })
	after := CountsOf(far)
	if after.Copied < before.Copied || after.Repeats < before.Repeats || after.Reinjected < before.Reinjected {
		t.Errorf("%+v before the end, %+v after it", before, after)
	}
}
