package dsn

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// Whatever the order and however often mappings come, each is new once and the
// Data ACK ends at the end.
func TestReceiveSpace(t *testing.T) {
	var w Space
	const first, count = ^uint64(0) - 5000, 1000 // wraps
	w.Reset(first)
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
		ok, err := w.Accept(m.dsn, m.n)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			fresh++
		}
	}
	if fresh != count || w.Due != next || w.held.n != 0 || w.Repeats != count {
		t.Errorf("%d new of %d, next off by %d, %d held, %d repeats", fresh, count, next-w.Due, w.held.n, w.Repeats)
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
		{"same start, longer", 2000, 200, errOverlap},
		{"behind a gap, over the end of another", 2050, 100, errOverlap},
		{"behind a gap, over the start of another", 1950, 100, errOverlap},
		{"behind a gap, over all of another", 1950, 200, errOverlap},
		{"over one behind the gap that it fills", 1000, 1001, errOverlap},
		{"a copy behind a gap", 2000, 100, nil},
		{"just before another behind a gap", 1900, 100, nil},
		{"just behind another behind a gap", 2100, 100, nil},
		{"beyond the window", 1000 + ReceiveWindow + 1, 100, errWindow},
		{"repeat", 900, 100, nil},
		{"next", 1000, 100, nil},
	} {
		var w Space
		w.Reset(1000)
		w.Accept(2000, 100)
		if _, err := w.Accept(c.dsn, c.n); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	var w Space
	w.Reset(0)
	var err error
	n := 0
	for dsn := uint64(2); err == nil && n <= maxHeld+1; dsn += 2 {
		_, err = w.Accept(dsn, 1)
		n++
	}
	if err != errWindow || n != maxHeld+1 {
		t.Errorf("a peer could make us hold %d mappings: %v", n, err)
	}
}

func TestInflight(t *testing.T) {
	q := InFlight{next: 100, acked: 100}
	for i := range 1000 {
		if sn := q.Push(buf.Get(100)); sn != uint64(i) {
			t.Fatalf("segment %d has number %d", i, sn)
		}
	}
	if q.Bytes != 100_000 || q.next != 100_100 {
		t.Errorf("%d bytes, next %d", q.Bytes, q.next)
	}
	q.At(3).Pins = 1
	if !q.Ack(100+500*100) || q.Head != 3 {
		t.Errorf("head %d: a pinned segment must stay", q.Head)
	}
	if q.Live(3) != nil || q.Live(499) != nil || q.Live(500) == nil {
		t.Error("acknowledged segments are not live, the others are")
	}
	q.At(3).Pins = 0
	q.free()
	if q.Head != 500 || q.Bytes != 50_000 {
		t.Errorf("head %d, %d bytes", q.Head, q.Bytes)
	}
	for _, bad := range []uint64{0, 100, 100_101, 1 << 63} {
		if q.Ack(bad) {
			t.Errorf("Data ACK %d was taken", bad)
		}
	}
	if q.Ack(100_050); q.Head != 999 {
		t.Errorf("head %d after an ACK within the last segment", q.Head)
	}
	if q.Ack(100_100); q.Head != 1000 || q.Bytes != 0 {
		t.Errorf("head %d, %d bytes at the end", q.Head, q.Bytes)
	}
}

// The Data ACK for a mapping may have gone down with a subflow: when it comes
// again, another is owed.
func TestRepeatsAreAcknowledged(t *testing.T) {
	var w Space
	w.Reset(1000)
	for _, dsn := range []uint64{1000, 2000} {
		for range 2 {
			w.Take()
			if _, err := w.Accept(dsn, 100); err != nil {
				t.Fatal(err)
			}
			if w.Take() == 0 {
				t.Errorf("no Data ACK is owed for %d", dsn)
			}
		}
	}
}

// An acknowledgement may come while the batch that carries the segment is still
// being written; the segment goes when that is done.
func TestAcknowledgedWhileWritten(t *testing.T) {
	var q InFlight
	q.Reset(1)
	for range 2 {
		q.At(q.Push(buf.Get(100))).Pins++
	}
	if !q.Ack(201) || q.Bytes != 200 {
		t.Fatalf("%d bytes in flight while both are held", q.Bytes)
	}
	q.Unpin(1)
	q.Unpin(0)
	if q.Bytes != 0 || q.Head != q.Tail {
		t.Errorf("%d bytes stay in flight for ever", q.Bytes)
	}
}

// Small packets are bounded by number, so that no receiver has to refuse what a
// sender may send.
func TestSmallPacketsInFlight(t *testing.T) {
	var q InFlight
	p := buf.Get(60)
	n := 0
	for ; !q.Full(); n++ {
		q.Push(p)
	}
	if n != SendSegments || n > 2*maxHeld {
		t.Errorf("%d segments without a Data ACK", n)
	}
}

// Whatever the order in which a peer's mappings come, each costs about the same.
func BenchmarkWorstOrder(b *testing.B) {
	const n = maxHeld
	for _, c := range []struct {
		name string
		at   func(i uint64) uint64 // the DSN of the i-th of n mappings of one byte behind gaps
	}{
		{"in order", func(i uint64) uint64 { return 2*i + 1 }},
		{"the last first", func(i uint64) uint64 { return 2*(n-i) - 1 }},
		{"from both ends", func(i uint64) uint64 {
			if i%2 == 0 {
				return i + 1
			}
			return 2*n - i
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				var w Space
				w.Reset(0)
				for i := range uint64(n) {
					if ok, err := w.Accept(c.at(i), 1); !ok {
						b.Fatal(i, err)
					}
				}
				for i := range uint64(n) { // the gaps
					if ok, err := w.Accept(2*i, 1); !ok {
						b.Fatal(i, err)
					}
				}
				if w.Due != 2*n {
					b.Fatal(w.Due)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(2*n), "ns/mapping")
		})
	}
}

// What a peer chooses to send costs no more than what comes in order: with one sorted list each mapping
// before all others had some hundred kilobytes moved.
func TestWorstOrder(t *testing.T) {
	for _, order := range []string{"the last first", "gaps from the front"} {
		var w Space
		w.Reset(0)
		for i := range uint64(maxHeld) {
			if order == "the last first" {
				i = maxHeld - 1 - i
			}
			if ok, err := w.Accept(2*i+1, 1); !ok {
				t.Fatal(err)
			}
		}
		if n := len(w.held.blocks); n > 2*maxHeld/(blockLength/2)+2 {
			t.Errorf("%s: %d stretches in %d blocks", order, w.held.n, n)
		}
		for i := range uint64(maxHeld) { // all but each 64th go together with the one before it
			if i%64 != 0 {
				if ok, err := w.Accept(2*i, 1); !ok {
					t.Fatal(err)
				}
			}
		}
		if n := len(w.held.blocks); n > 2*w.held.n/(blockLength/2)+2 {
			t.Errorf("%s: %d stretches are left in %d blocks", order, w.held.n, n)
		}
	}
}

// The memory for very many mappings behind a hole is given back.
func TestHeldIsGivenBack(t *testing.T) {
	var w Space
	w.Reset(0)
	const n = 2 * blocksKept * blockLength
	for i := range uint64(n) {
		if _, err := w.Accept(200*(i+1), 100); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(n + 1) {
		w.Accept(200*i, 100)
		w.Accept(200*i+100, 100)
	}
	if w.List() != 0 || w.Due != 200*(n+1) {
		t.Errorf("%d bytes remember nothing, next %d", w.List(), w.Due)
	}
}

// What is not acknowledged is bounded in memory, not only in the bytes it carries.
func TestInFlightIsBoundedInMemory(t *testing.T) {
	for _, n := range []int{100, 2100, 5000, 60000} {
		for _, most := range []int{0, 8 << 20} {
			var q InFlight
			q.Reset(1)
			q.Most = most
			for !q.Full() {
				q.Push(buf.Get(n))
			}
			bound := most
			if bound == 0 {
				bound = HoldWindow
			}
			if q.Held > bound+buf.MaxSize {
				t.Errorf("packets of %d: %d bytes hold %d, bound %d", n, q.Bytes, q.Held, bound)
			}
			q.Ack(q.next)
			if q.Held != 0 {
				t.Errorf("packets of %d: %d bytes are held by nothing", n, q.Held)
			}
		}
	}
}

// A renewal forgets all that was under way; what a batch still holds is left to it.
func TestReset(t *testing.T) {
	q := InFlight{next: 100, acked: 100}
	for range 3 {
		q.Push(buf.Get(100))
	}
	pinned := q.At(1)
	pinned.Pins = 1
	b := pinned.P
	q.Reset(7)
	if q.Head != q.Tail || q.Bytes != 0 || q.Held != 0 || q.Full() {
		t.Errorf("%d segments and %d bytes are left", q.Tail-q.Head, q.Bytes)
	}
	if b.Len() != 100 {
		t.Error("the batch's packet is gone")
	}
	sn := q.Push(buf.Get(50))
	if s := q.Live(sn); s == nil || s.DSN != 7 {
		t.Errorf("the first segment is %+v", s)
	}
}

// TestWraps: a DSN is sent in full while 2 GiB went within the last Maximum Segment Lifetimes,
// and not by a session that was fast long ago.
func TestWraps(t *testing.T) {
	q := InFlight{next: 1 << 40, acked: 1 << 40}
	now := int64(5e9)
	send := func(n uint64, over int64) {
		for range 100 {
			now += over / 100
			q.next += n / 100
			q.Pass(now)
		}
	}
	for _, c := range []struct {
		name string
		n    uint64
		over int64
		want bool
	}{
		{"slow", 1 << 30, 100e9, false},
		{"fast", 3 << 30, 10e9, true},
		{"a minute later", 1 << 20, 60e9, true},
		{"five minutes later", 1 << 20, 300e9, false},
	} {
		if send(c.n, c.over); q.Wraps() != c.want {
			t.Errorf("%s: %v", c.name, q.Wraps())
		}
	}
}

// The lists of both sides are as long as what they are said to take.
func TestLists(t *testing.T) {
	if s := unsafe.Sizeof(block{}); unsafe.Sizeof(Segment{}) != segmentMemory || s > blockMemory || s < blockMemory-16 {
		t.Errorf("a segment takes %d bytes, a block of stretches %d", unsafe.Sizeof(Segment{}), s)
	}
	var q InFlight
	q.Reset(0)
	const n = 5000
	for range n {
		q.Push(buf.Get(10))
	}
	if q.List() < n*segmentMemory {
		t.Errorf("%d segments are in a list of %d bytes", n, q.List())
	}
	q.Ack(n * 10)
	if q.List() != 0 {
		t.Errorf("nothing is in a list of %d bytes", q.List())
	}
	var w Space
	w.Reset(0)
	for i := range uint64(n) {
		if _, err := w.Accept(10+20*i, 10); err != nil {
			t.Fatal(err)
		}
	}
	if w.List() < n*int(unsafe.Sizeof(stretch{})) {
		t.Errorf("%d stretches are in a list of %d bytes", n, w.List())
	}
	for i := range uint64(n) {
		if _, err := w.Accept(20*i, 10); err != nil {
			t.Fatal(err)
		}
	}
	if w.List() != 0 || w.Due != n*20 {
		t.Errorf("nothing is in a list of %d bytes, up to %d", w.List(), w.Due)
	}
}
