package fq

import (
	"testing"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

func queueFlow(port uint16) *Flow {
	f := &Flow{Key: packet.Key{SrcPort: port, Proto: packet.ProtoUDP}, Class: ClassBulk}
	f.Band = f.Class
	return f
}

func (q *Queue) add(f *Flow, n, size int, now int64) {
	for range n {
		q.Push(f, buf.Get(size), now)
	}
}

// Flows take turns whatever they have waiting.
func TestQueueIsFair(t *testing.T) {
	q := Queue{Target: CoDelTarget}
	fat, thin := queueFlow(1), queueFlow(2)
	q.add(fat, 1000, 1500, 0)
	q.add(thin, 10, 200, 0)
	var thinAt []int
	for i := range 100 {
		f, p := q.Pop(ClassBulk, 1e6, 16384)
		if p == nil {
			t.Fatal("empty")
		}
		p.Release()
		if f == thin {
			thinAt = append(thinAt, i)
		}
	}
	if len(thinAt) != 10 || thinAt[9] > 13 {
		t.Errorf("the thin flow's packets left at %v", thinAt)
	}
}

// A standing queue is dropped from at a growing rate (RFC 8289), a short one
// is not.
func TestQueueManagesDelay(t *testing.T) {
	run := func(each int64) (delivered int, drops uint64) {
		q := Queue{Target: CoDelTarget}
		f := queueFlow(1)
		for now := int64(0); now < 3e9; now += 1e6 {
			q.add(f, 1, 1200, now)
			if now%each < 1e6 {
				if _, p := q.Pop(ClassBulk, now, 16384); p != nil {
					p.Release()
					delivered++
				}
			}
		}
		return delivered, q.Drops[DropCoDel] + q.Drops[DropStale]
	}
	if d, drops := run(1e6); drops != 0 || d != 3000 {
		t.Errorf("no overload: %d delivered, %d dropped", d, drops)
	}
	if d, drops := run(2e6); drops < 500 || d < 1400 {
		t.Errorf("twofold overload: %d delivered, %d dropped", d, drops)
	}
}

// A flow that does not answer what is dropped of it, because its rate is its rate, does not wait
// for seconds behind what a moment without room left; one that answers is let wait as before,
// and so is one after a rest.
func TestDeafFlowsWaitLess(t *testing.T) {
	const target = CoDelTarget + 22e6 // paths 15 ms apart
	play := func(answers, quic bool) (longest [6]int64, drops uint64) {
		q := Queue{Target: target}
		f := queueFlow(1)
		f.Behaviour.QUIC = quic
		slow := int64(0)
		for now := int64(0); now < 3e9; now += 1e6 {
			before := f.Dropped
			if now >= slow {
				q.add(f, 9, 1200, now)
			}
			room := 9 // as much as comes and a little more, but for the first tenth of a second
			switch {
			case now < 100e6:
				room = 0
			case now%4e6 == 0:
				room++
			}
			for range room {
				_, p := q.Pop(ClassBulk, now, 16384)
				if p == nil {
					break
				}
				half := now / 500e6
				longest[half] = max(longest[half], now-p.Stamp)
				p.Release()
			}
			if answers && f.Dropped > before {
				slow = now + 60e6
			}
		}
		return longest, f.Dropped
	}
	deaf, drops := play(false, false)
	if deaf[1] > 20e6 || drops > 900 {
		t.Errorf("deaf: %d ms in the second half second, %d dropped", deaf[1]/1e6, drops)
	}
	if quic, _ := play(false, true); quic[2] < 60e6 {
		t.Errorf("QUIC: %d ms in the third half second", quic[2]/1e6)
	}
	if _, drops := play(true, false); drops > 10 {
		t.Errorf("one that answers: %d dropped", drops)
	}
	var c codel
	if c.deaf = 1e9; c.hears(1e9+1) || !c.hears(1e9+deafMemory+1) {
		t.Error("it is not forgotten, or at once")
	}
}

// Nothing older than the limit leaves the queue, and the bytes are bounded.
func TestQueueBounds(t *testing.T) {
	q := Queue{Target: CoDelTarget}
	f := queueFlow(1)
	q.add(f, 10, 100, 0)
	if _, p := q.Pop(ClassBulk, q.oldest(f, 0)+1, 16384); p != nil {
		t.Error("a stale packet was delivered")
	}
	if q.Drops[DropStale] != 10 || q.Bytes != 0 {
		t.Errorf("%d stale, %d bytes left", q.Drops[DropStale], q.Bytes)
	}
	g := queueFlow(2)
	q.add(g, 1, 100, 0)
	q.add(f, 2*queueBytes/60000, 60000, 0)
	if q.Bytes > queueBytes || q.Drops[DropOverflow] == 0 {
		t.Errorf("%d bytes held, %d dropped", q.Bytes, q.Drops[DropOverflow])
	}
	if g.Bytes != 100 {
		t.Error("the small flow paid for the large one")
	}
	q.Clear(f, DropRenewed)
	q.Clear(g, DropRenewed)
	if q.Bytes != 0 || !q.Idle() || q.Bands[ClassBulk].bytes != 0 {
		t.Errorf("after clear: %d bytes, idle %v", q.Bytes, q.Idle())
	}
}

// While paths die and come back, what stands in the queue is kept.
func TestQueueGrace(t *testing.T) {
	for _, grace := range []bool{false, true} {
		q := Queue{Target: CoDelTarget, Grace: grace}
		f := queueFlow(1)
		now := int64(0)
		for range 400 { // 400 ms of 10 packets in and 8 out, a millisecond each
			q.add(f, 10, 1200, now)
			now += 1e6
			for range 8 {
				if _, p := q.Pop(ClassBulk, now, 0); p != nil {
					p.Release()
				}
			}
		}
		if dropped := q.Drops[DropCoDel] + q.Drops[DropStale]; (dropped == 0) != grace {
			t.Errorf("grace %v: %d dropped", grace, dropped)
		}
		q.Clear(f, DropRenewed)
	}
}

func TestQueueBands(t *testing.T) {
	q := Queue{Target: CoDelTarget}
	f := queueFlow(1)
	q.add(f, 3, 1000, 0)
	q.SetBand(f, ClassLatency)
	if !q.Bands[ClassBulk].Empty() || q.Bands[ClassBulk].bytes != 0 || q.Bands[ClassLatency].bytes != 3000 {
		t.Errorf("bands after the move: %+v", q.Bands)
	}
	for range 3 {
		if _, p := q.Pop(ClassLatency, 0, 16384); p == nil {
			t.Fatal("a packet was lost in the move")
		}
	}
}

// Flows that want order get as much as the others, one by one, although they
// wait in a band of their own; and having been away earns nothing.
func TestBandsSideBySide(t *testing.T) {
	var q Queue
	q.Target = CoDelTarget
	flows := make([]*Flow, 4)
	for i := range flows {
		flows[i] = queueFlow(uint16(i))
		if i == 0 {
			flows[i].Band = ClassOrdered
		}
	}
	serve := func(n int) (got [Classes]int) {
		for range n {
			band := q.Least(LargeBands)
			if band == NoBand {
				t.Fatal("nothing left")
			}
			active := q.Bands[band].Active
			_, p := q.Pop(band, 0, 16384)
			q.Serve(band, active, p.Len())
			got[band]++
			p.Release()
		}
		return got
	}
	for _, f := range flows[1:] {
		q.add(f, 200, 1000, 0)
	}
	serve(100)
	q.add(flows[0], 200, 1000, 0)
	if got := serve(200); got[ClassOrdered] < 45 || got[ClassOrdered] > 55 {
		t.Errorf("one of four flows got %d of 200 packets", got[ClassOrdered])
	}
	for i, f := range flows {
		if q.Clear(f, DropRenewed); f.where != whereNone || q.Bands[f.Band].Active < 0 {
			t.Errorf("flow %d is still there", i)
		}
	}
	if !q.Idle() || q.Backlog() != 0 {
		t.Errorf("%d bytes are left", q.Backlog())
	}
}

// An idle stream has nothing to send.
type idle struct{}

func (idle) Next(int) *buf.Buffer { return nil }
func (idle) Ended() bool          { return false }
func (idle) Window() int          { return 0 }

// The queue is full of what cannot be found among very many streams: what comes
// next is dropped, and the bound holds.
func TestQueueBoundBehindStreams(t *testing.T) {
	q := Queue{Target: CoDelTarget}
	for i := range 600 {
		f := queueFlow(uint16(i))
		f.Stream = idle{}
		q.Activate(f)
	}
	f := queueFlow(1000)
	q.add(f, 2*queueBytes/1000, 1000, 0)
	if q.Bytes > queueBytes || q.Drops[DropOverflow] == 0 || f.Dropped != q.Drops[DropOverflow] {
		t.Errorf("%d bytes wait, %d dropped", q.Bytes, q.Drops[DropOverflow])
	}
}

// Small packets cost their buffers.
func TestQueueBoundsSmallPackets(t *testing.T) {
	q := Queue{Target: CoDelTarget}
	f := queueFlow(1)
	q.add(f, 3*queueBytes/chargeLeast, 28, 0)
	n := 0
	for p := f.head; p != nil; p = p.Next {
		n++
	}
	if n > queueBytes/chargeLeast {
		t.Errorf("%d packets wait", n)
	}
	if q.Clear(f, DropRenewed); q.Bytes != 0 {
		t.Errorf("%d bytes are left of nothing", q.Bytes)
	}
}

// A burst of a flow that may use metered paths takes none of another flow along.
func TestMeteredFlowsHaveABand(t *testing.T) {
	q := Queue{Target: CoDelTarget}
	bulk, metered := queueFlow(1), queueFlow(2)
	metered.Class, metered.Band = ClassMetered, ClassMetered
	q.add(bulk, 10, 1000, 0)
	q.add(metered, 10, 1000, 0)
	if band := q.Least(LargeBands &^ (1 << ClassBulk)); band != ClassMetered {
		t.Errorf("band %d while bulk finds no room", band)
	}
}

// What comes at once after a pause is let wait where it leaves by itself, also of a flow that has shown
// before that it does not slow down; not where it stays, nor where the queue was long before.
func TestBurstThatLeavesIsLetWait(t *testing.T) {
	for _, c := range []struct {
		name   string
		served int64 // ns for each packet; one comes each ms
		deaf   bool
		at     int // ms
		lost   bool
	}{
		{"it leaves", 900e3, false, 2000, false},
		{"of one that does not slow down", 900e3, true, 2000, false},
		{"it stays", 1000e3, false, 2000, true},
		{"there was no queue yet", 900e3, true, 10, true},
	} {
		q := Queue{Target: CoDelTarget}
		f := queueFlow(1)
		if c.deaf {
			f.codel.deaf = 1
		}
		served := int64(0)
		for ms := range 4000 {
			now := int64(ms)*1e6 + 1
			q.add(f, 1, 1200, now)
			if ms == c.at {
				q.add(f, 80, 1200, now)
			}
			for ; served <= now; served += c.served {
				if _, p := q.Pop(ClassBulk, now, 16384); p != nil {
					p.Release()
				} else {
					served = now + 1
				}
			}
		}
		if drops := q.Drops[DropCoDel] + q.Drops[DropStale]; (drops > 0) != c.lost {
			t.Errorf("%s: %d are dropped", c.name, drops)
		}
	}
}
