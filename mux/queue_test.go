package mux

import (
	"testing"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

func queueFlow(port uint16) *flow {
	f := &flow{key: packet.Key{SrcPort: port, Proto: packet.ProtoUDP}, class: ClassBulk}
	f.band = bandOf(f.class)
	return f
}

func (q *queue) add(f *flow, n, size int, now int64) {
	for range n {
		q.push(f, buf.Get(size), now)
	}
}

// Flows take turns whatever they have waiting.
func TestQueueIsFair(t *testing.T) {
	q := queue{target: codelTarget}
	fat, thin := queueFlow(1), queueFlow(2)
	q.add(fat, 1000, 1500, 0)
	q.add(thin, 10, 200, 0)
	var thinAt []int
	for i := range 100 {
		f, p := q.pop(bandNormal, 1e6, segmentSize)
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
		q := queue{target: codelTarget}
		f := queueFlow(1)
		for now := int64(0); now < 3e9; now += 1e6 {
			q.add(f, 1, 1200, now)
			if now%each < 1e6 {
				if _, p := q.pop(bandNormal, now, segmentSize); p != nil {
					p.Release()
					delivered++
				}
			}
		}
		return delivered, q.drops[dropCodel] + q.drops[dropStale]
	}
	if d, drops := run(1e6); drops != 0 || d != 3000 {
		t.Errorf("no overload: %d delivered, %d dropped", d, drops)
	}
	if d, drops := run(2e6); drops < 500 || d < 1400 {
		t.Errorf("twofold overload: %d delivered, %d dropped", d, drops)
	}
}

// Nothing older than the limit leaves the queue, and the bytes are bounded.
func TestQueueBounds(t *testing.T) {
	q := queue{target: codelTarget}
	f := queueFlow(1)
	q.add(f, 10, 100, 0)
	if _, p := q.pop(bandNormal, q.oldest(f)+1, segmentSize); p != nil {
		t.Error("a stale packet was delivered")
	}
	if q.drops[dropStale] != 10 || q.bytes != 0 {
		t.Errorf("%d stale, %d bytes left", q.drops[dropStale], q.bytes)
	}
	g := queueFlow(2)
	q.add(g, 1, 100, 0)
	q.add(f, 2*queueBytes/60000, 60000, 0)
	if q.bytes > queueBytes || q.drops[dropOverflow] == 0 {
		t.Errorf("%d bytes held, %d dropped", q.bytes, q.drops[dropOverflow])
	}
	if g.bytes != 100 {
		t.Error("the small flow paid for the large one")
	}
	q.clear(f, dropRenewed)
	q.clear(g, dropRenewed)
	if q.bytes != 0 || !q.idle() || q.bands[bandNormal].bytes != 0 {
		t.Errorf("after clear: %d bytes, idle %v", q.bytes, q.idle())
	}
}

// While paths die and come back, what stands in the queue is kept.
func TestQueueGrace(t *testing.T) {
	for _, grace := range []bool{false, true} {
		q := queue{target: codelTarget, grace: grace}
		f := queueFlow(1)
		now := int64(0)
		for range 400 { // 400 ms of 10 packets in and 8 out, a millisecond each
			q.add(f, 10, 1200, now)
			now += 1e6
			for range 8 {
				if _, p := q.pop(bandNormal, now, 0); p != nil {
					p.Release()
				}
			}
		}
		if dropped := q.drops[dropCodel] + q.drops[dropStale]; (dropped == 0) != grace {
			t.Errorf("grace %v: %d dropped", grace, dropped)
		}
		q.clear(f, dropRenewed)
	}
}

func TestQueueBands(t *testing.T) {
	q := queue{target: codelTarget}
	f := queueFlow(1)
	q.add(f, 3, 1000, 0)
	q.setBand(f, bandLatency)
	if !q.bands[bandNormal].empty() || q.bands[bandNormal].bytes != 0 || q.bands[bandLatency].bytes != 3000 {
		t.Errorf("bands after the move: %+v", q.bands)
	}
	for range 3 {
		if _, p := q.pop(bandLatency, 0, segmentSize); p == nil {
			t.Fatal("a packet was lost in the move")
		}
	}
}

func TestBehaviour(t *testing.T) {
	s := &Session{flows: map[packet.Key]*flow{}}
	f := queueFlow(1)
	f.class, f.band = ClassLatency, bandLatency
	feed := func(from, to int64, perWindow int) {
		for now := from; now < to; now += 1e6 {
			s.classify(f, perWindow/100, nil, now)
			f.packets++
		}
	}
	feed(0, 1e9, 12<<10) // a game: 1 Mbit/s
	if f.class != ClassLatency {
		t.Errorf("a game is %v", f.class)
	}
	feed(1e9, 11e8, 200<<10) // 16 Mbit/s
	if f.class != ClassBulk {
		t.Errorf("a download is %v after 100 ms", f.class)
	}
	feed(11e8, 16e8, 12<<10)
	if f.class != ClassBulk {
		t.Errorf("half a second of calm makes it %v", f.class)
	}
	feed(16e8, 30e8, 12<<10)
	if f.class != ClassLatency {
		t.Errorf("a second of calm leaves it %v", f.class)
	}
}

// Flows that want order get as much as the others, one by one, although they
// wait in a band of their own; and having been away earns nothing.
func TestBandsSideBySide(t *testing.T) {
	var q queue
	q.target = codelTarget
	flows := make([]*flow, 4)
	for i := range flows {
		flows[i] = queueFlow(uint16(i))
		if i == 0 {
			flows[i].band = bandOrdered
		}
	}
	serve := func(n int) (got [bands]int) {
		for range n {
			band := q.least(largeBands[:], 0)
			if band < 0 {
				t.Fatal("nothing left")
			}
			b := &q.bands[band]
			active := b.active
			_, p := q.pop(band, 0, segmentSize)
			b.served += float64(p.Len()) / float64(active)
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
	if got := serve(200); got[bandOrdered] < 45 || got[bandOrdered] > 55 {
		t.Errorf("one of four flows got %d of 200 packets", got[bandOrdered])
	}
	for i, f := range flows {
		if q.clear(f, dropRenewed); f.where != whereNone || q.bands[f.band].active < 0 {
			t.Errorf("flow %d is still there", i)
		}
	}
	if !q.idle() || q.backlog() != 0 {
		t.Errorf("%d bytes are left", q.backlog())
	}
}

// The queue is full of what cannot be found among very many streams: what comes
// next is dropped, and the bound holds.
func TestQueueBoundBehindStreams(t *testing.T) {
	q := queue{target: codelTarget}
	for i := range 600 {
		f := queueFlow(uint16(i))
		f.stream = &Stream{}
		q.activate(f)
	}
	f := queueFlow(1000)
	q.add(f, 2*queueBytes/1000, 1000, 0)
	if q.bytes > queueBytes || q.drops[dropOverflow] == 0 || f.dropped != q.drops[dropOverflow] {
		t.Errorf("%d bytes wait, %d dropped", q.bytes, q.drops[dropOverflow])
	}
}

// Small packets cost their buffers.
func TestQueueBoundsSmallPackets(t *testing.T) {
	q := queue{target: codelTarget}
	f := queueFlow(1)
	q.add(f, 3*queueBytes/chargeLeast, 28, 0)
	n := 0
	for p := f.head; p != nil; p = p.Next {
		n++
	}
	if n > queueBytes/chargeLeast {
		t.Errorf("%d packets wait", n)
	}
	if q.clear(f, dropRenewed); q.bytes != 0 {
		t.Errorf("%d bytes are left of nothing", q.bytes)
	}
}

// A burst of a flow that may use metered paths takes none of another flow along.
func TestMeteredFlowsHaveABand(t *testing.T) {
	if bandOf(ClassMetered) == bandOf(ClassBulk) {
		t.Error("one band for both")
	}
	q := queue{target: codelTarget}
	bulk, metered := queueFlow(1), queueFlow(2)
	metered.class, metered.band = ClassMetered, bandOf(ClassMetered)
	q.add(bulk, 10, 1000, 0)
	q.add(metered, 10, 1000, 0)
	if band := q.least(largeBands[:], 1<<bandNormal); band != bandMetered {
		t.Errorf("band %d while bulk finds no room", band)
	}
}
