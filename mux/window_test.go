package mux

import (
	"math/rand/v2"
	"testing"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// Whatever the order and however often mappings come, each is new once and the
// Data ACK ends at the end.
func TestReceiveSpace(t *testing.T) {
	var w receiveSpace
	const first, count = ^uint64(0) - 5000, 1000 // wraps
	w.reset(first)
	type mapping struct {
		dsn uint64
		n   uint32
	}
	var all []mapping
	next := uint64(first)
	for range count {
		n := uint32(20 + rand.IntN(1400))
		all = append(all, mapping{next, n})
		next += uint64(n)
	}
	twice := append(append([]mapping{}, all...), all...)
	rand.Shuffle(len(twice), func(i, j int) { twice[i], twice[j] = twice[j], twice[i] })
	fresh := 0
	for _, m := range twice {
		ok, err := w.accept(m.dsn, m.n)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			fresh++
		}
	}
	w.publish()
	if fresh != count || w.next.Load() != next || len(w.held) != 0 || w.repeats != count {
		t.Errorf("%d new of %d, next off by %d, %d held, %d repeats", fresh, count, next-w.next.Load(), len(w.held), w.repeats)
	}
}

func TestReceiveSpaceRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		dsn  uint64
		n    uint32
		want error
	}{
		{"overlaps what came", 990, 20, errOverlap},
		{"same start, other length", 2000, 200, errOverlap},
		{"beyond the window", 1000 + receiveWindow + 1, 100, errWindow},
		{"repeat", 900, 100, nil},
		{"next", 1000, 100, nil},
	} {
		var w receiveSpace
		w.reset(1000)
		w.accept(2000, 100)
		if _, err := w.accept(c.dsn, c.n); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	var w receiveSpace
	w.reset(0)
	var err error
	n := 0
	for dsn := uint64(2); err == nil && n <= maxHeld+1; dsn += 2 {
		_, err = w.accept(dsn, 1)
		n++
	}
	if err != errWindow || n != maxHeld+1 {
		t.Errorf("a peer could make us hold %d mappings: %v", n, err)
	}
}

func TestInflight(t *testing.T) {
	q := inflight{next: 100, acked: 100}
	for i := range 1000 {
		if sn := q.push(buf.Get(100)); sn != uint64(i) {
			t.Fatalf("segment %d has number %d", i, sn)
		}
	}
	if q.bytes != 100_000 || q.next != 100_100 {
		t.Errorf("%d bytes, next %d", q.bytes, q.next)
	}
	q.at(3).pins = 1
	if !q.ack(100+500*100) || q.head != 3 {
		t.Errorf("head %d: a pinned segment must stay", q.head)
	}
	if q.live(3) != nil || q.live(499) != nil || q.live(500) == nil {
		t.Error("acknowledged segments are not live, the others are")
	}
	q.at(3).pins = 0
	q.free()
	if q.head != 500 || q.bytes != 50_000 {
		t.Errorf("head %d, %d bytes", q.head, q.bytes)
	}
	for _, bad := range []uint64{0, 100, 100_101, 1 << 63} {
		if q.ack(bad) {
			t.Errorf("Data ACK %d was taken", bad)
		}
	}
	if q.ack(100_050); q.head != 999 {
		t.Errorf("head %d after an ACK within the last segment", q.head)
	}
	if q.ack(100_100); q.head != 1000 || q.bytes != 0 {
		t.Errorf("head %d, %d bytes at the end", q.head, q.bytes)
	}
}

// The Data ACK for a mapping may have gone down with a subflow: when it comes
// again, another is owed.
func TestRepeatsAreAcknowledged(t *testing.T) {
	var w receiveSpace
	w.reset(1000)
	for _, dsn := range []uint64{1000, 2000} {
		for range 2 {
			w.pending.Store(0)
			if _, err := w.accept(dsn, 100); err != nil {
				t.Fatal(err)
			}
			w.publish()
			if w.pending.Load() == 0 {
				t.Errorf("no Data ACK is owed for %d", dsn)
			}
		}
	}
}

// An acknowledgement may come while the batch that carries the segment is still
// being written; the segment goes when that is done.
func TestAcknowledgedWhileWritten(t *testing.T) {
	var q inflight
	q.reset(1)
	for range 2 {
		q.at(q.push(buf.Get(100))).pins++
	}
	if !q.ack(201) || q.bytes != 200 {
		t.Fatalf("%d bytes in flight while both are held", q.bytes)
	}
	q.unpin(1)
	q.unpin(0)
	if q.bytes != 0 || q.head != q.tail {
		t.Errorf("%d bytes stay in flight for ever", q.bytes)
	}
}

// Small packets are bounded by number, so that no receiver has to refuse what a
// sender may send.
func TestSmallPacketsInFlight(t *testing.T) {
	var q inflight
	p := buf.Get(60)
	n := 0
	for ; !q.full(); n++ {
		q.push(p)
	}
	if n != sendSegments || n > maxHeld {
		t.Errorf("%d segments without a Data ACK", n)
	}
}

// The memory for very many mappings behind a hole is given back.
func TestHeldIsGivenBack(t *testing.T) {
	var w receiveSpace
	w.reset(0)
	for i := range uint64(2 * heldMemory) {
		if _, err := w.accept(100*(i+1), 100); err != nil {
			t.Fatal(err)
		}
	}
	w.accept(0, 100)
	if w.publish(); w.most != 0 || w.next.Load() != 100*(2*heldMemory+1) {
		t.Errorf("%d mappings remembered, next %d", w.most, w.next.Load())
	}
}
