package mux

import (
	"sync"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// The resequencer restores the order of QUIC-like flows that the peer spread
// over several subflows, by the Identification count, for a bounded time. TCP
// keeps the order of what comes by one subflow, so such a flow never waits; a
// gap says that something is under way elsewhere. It is never waited for across
// flows.

const (
	reseqFlows   = 4096
	reseqPackets = 4096 // held for one flow at most: 50 ms at 1 Gbit/s
	reseqIdle    = 60e9

	// reseqLeast is the mean length of packets, in bytes, from which order is
	// worth a wait: acknowledgements and the like are better early than in order.
	reseqLeast = 400
)

// A resequencer is guarded by mu, which is held while flows that it orders are
// delivered, so that two readers cannot swap what was just put in order.
type resequencer struct {
	s     *Session
	mu    sync.Mutex
	flows map[packet.Key]*rflow
	last  *rflow
	spent []*buf.Buffer // held packets that are in the views now
	count int           // packets held in all

	restored, expired uint64
}

// An rflow is one flow in the receiving direction.
type rflow struct {
	key     packet.Key
	next    uint32 // Identification that is due
	six     bool
	beh     behaviour
	seen    int
	mean    int // smoothed length
	last    int64
	waiting []held // sorted by distance from next
}

type held struct {
	id uint32
	at int64
	b  *buf.Buffer
}

// distance is how far id lies behind next; IPv4 counts in 16 bits.
func (f *rflow) distance(id uint32) int32 {
	if f.six {
		return int32(id - f.next)
	}
	return int32(int16(uint16(id) - uint16(f.next)))
}

// deliver hands a chunk of packets to the handler, in the order in which they
// are due; what has to wait is copied. views is room.
func (r *resequencer) deliver(pkts []received, views [][]byte, now int64) [][]byte {
	r.mu.Lock()
	ordered := false
	for i := range pkts {
		f := r.flow(pkts[i].pkt)
		if f == nil {
			views = append(views, pkts[i].pkt)
			continue
		}
		views = r.arrive(f, pkts[i].pkt, views, now)
		ordered = ordered || f.beh.quic
	}
	if !ordered {
		r.mu.Unlock()
		r.s.handler.Deliver(views)
		return views
	}
	defer r.mu.Unlock()
	r.hand(views)
	return views
}

// hand delivers views and gives back the held packets among them.
func (r *resequencer) hand(views [][]byte) {
	if len(views) > 0 {
		r.s.handler.Deliver(views)
	}
	for i, b := range r.spent {
		b.Release()
		r.spent[i] = nil
	}
	r.spent = r.spent[:0]
}

// flow returns the state of a packet's flow, or nil when there are too many,
// or for a fragment: its Identification counts nothing.
func (r *resequencer) flow(pkt []byte) *rflow {
	if packet.IsFragment(pkt) {
		return nil
	}
	var k packet.Key
	packet.KeyOf(pkt, &k)
	if r.last != nil && r.last.key == k {
		return r.last
	}
	f := r.flows[k]
	if f == nil {
		if len(r.flows) >= reseqFlows {
			return nil
		}
		f = &rflow{key: k, next: packet.ID(pkt), six: pkt[0]>>4 == 6}
		r.flows[k] = f
	}
	r.last = f
	return f
}

// arrive takes one packet and appends to views what is due.
func (r *resequencer) arrive(f *rflow, pkt []byte, views [][]byte, now int64) [][]byte {
	id := packet.ID(pkt)
	f.last = now
	if f.seen == 0 {
		f.mean = len(pkt)
	}
	f.mean += (len(pkt) - f.mean) / 8
	if f.seen < 16 {
		f.seen++
		f.beh.see(udpPayload(pkt))
	}
	d := f.distance(id)
	switch {
	case d < -reseqPackets: // the sender counts anew
		views = append(r.flush(f, views), pkt)
		f.next = id + 1
		return views
	case d < 0: // its gap was given up
		return append(views, pkt)
	case d == 0:
		f.next++
		return r.release(f, append(views, pkt))
	case !f.beh.quic || f.mean < reseqLeast || len(f.waiting) >= reseqPackets || d > reseqPackets:
		views = append(r.flush(f, views), pkt)
		f.next = id + 1
		return views
	}
	r.hold(f, id, pkt, now)
	return views
}

// hold keeps a copy, sorted.
func (r *resequencer) hold(f *rflow, id uint32, pkt []byte, now int64) {
	b := buf.Get(len(pkt))
	copy(b.Bytes(), pkt)
	i := len(f.waiting)
	for i > 0 && f.distance(f.waiting[i-1].id) > f.distance(id) {
		i--
	}
	f.waiting = append(f.waiting, held{})
	copy(f.waiting[i+1:], f.waiting[i:])
	f.waiting[i] = held{id, now, b}
	r.count++
}

// release appends what has become due.
func (r *resequencer) release(f *rflow, views [][]byte) [][]byte {
	n := 0
	for n < len(f.waiting) && f.distance(f.waiting[n].id) <= 0 {
		if f.distance(f.waiting[n].id) == 0 {
			f.next++
		}
		n++
	}
	r.restored += uint64(n)
	return r.pop(f, n, views)
}

// flush appends all that is held.
func (r *resequencer) flush(f *rflow, views [][]byte) [][]byte {
	return r.pop(f, len(f.waiting), views)
}

func (r *resequencer) pop(f *rflow, n int, views [][]byte) [][]byte {
	if n == 0 {
		return views
	}
	for _, h := range f.waiting[:n] {
		views = append(views, h.b.Bytes())
		r.spent = append(r.spent, h.b)
	}
	r.count -= n
	rest := f.waiting[:copy(f.waiting, f.waiting[n:])]
	clear(f.waiting[len(rest) : len(rest)+n])
	f.waiting = rest
	return views
}

// holds says that something waits.
func (r *resequencer) holds() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count > 0
}

// tick gives up on gaps that are older than bound and forgets idle flows. It
// reports whether anything is still held.
func (r *resequencer) tick(now, bound int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var views [][]byte
	for k, f := range r.flows {
		for len(f.waiting) > 0 && now-f.waiting[0].at > bound {
			f.next = f.waiting[0].id
			r.expired++
			views = r.release(f, views)
		}
		if len(f.waiting) == 0 && now-f.last > reseqIdle {
			f.key = packet.Key{}
			delete(r.flows, k)
		}
	}
	r.hand(views)
	return r.count > 0
}
