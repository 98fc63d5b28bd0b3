package reseq

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// gappy holds n packets of a flow, of which none is next to another.
func gappy(n int) *Resequencer {
	r := New(func(packet.Key, uint8) bool { return true })
	for i := range n {
		r.Add(0, flowPacket(0, uint32(2*i+2)), nil, 1)
	}
	return r
}

// TestGapsAreGivenUpTogether: who makes gaps makes a tick no longer than what he holds does. Looking
// for the oldest behind each gap took sixty-four times as long for eight times as many.
func TestGapsAreGivenUpTogether(t *testing.T) {
	fastest := func(n int) time.Duration {
		best := time.Hour
		for range 9 {
			r := gappy(n)
			begun := time.Now()
			due, _ := r.Tick(1e12, 1, nil)
			if best = min(best, time.Since(begun)); len(due) != n || r.Expired != uint64(n) || r.Holds() {
				t.Fatalf("%d of %d are due, %d gaps", len(due), n, r.Expired)
			}
			r.Done()
		}
		return best
	}
	few, many := fastest(250), fastest(2000)
	if many > 24*few {
		t.Errorf("250 gaps take %v, 2,000 take %v", few, many)
	}
}

// TestExpireAsOneByOne: what is given up at once is what is given up gap by gap.
func TestExpireAsOneByOne(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var ids []uint32
		var at []int64
		for range 1 + rnd.IntN(40) {
			ids = append(ids, uint32(2+rnd.IntN(60)))
			at = append(at, int64(1+rnd.IntN(100)))
		}
		make := func() (*Resequencer, *rflow) {
			r := New(func(packet.Key, uint8) bool { return true })
			for i, id := range ids {
				r.hold(r.flow(flowPacket(0, 0)), id, flowPacket(0, id), at[i])
			}
			f := r.flow(flowPacket(0, 0))
			f.next = 1
			return r, f
		}
		since := int64(rnd.IntN(110))
		one, f := make()
		var want [][]byte
		for slices.ContainsFunc(f.waiting, func(h held) bool { return h.at < since }) {
			f.next = f.waiting[0].id
			one.Expired++
			want = one.release(f, want)
		}
		all, g := make()
		got := all.expire(g, since, nil)
		if !slices.EqualFunc(got, want, func(a, b []byte) bool { return slices.Equal(a, b) }) ||
			f.next != g.next || one.Expired != all.Expired || one.Restored != all.Restored || len(f.waiting) != len(g.waiting) {
			t.Fatalf("seed %d: %d due, next %d, %d gaps, %d restored; one by one %d, %d, %d, %d", seed,
				len(got), g.next, all.Expired, all.Restored, len(want), f.next, one.Expired, one.Restored)
		}
	}
}
