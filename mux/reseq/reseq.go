package reseq

import (
	"sort"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// The resequencer restores the order of flows that the peer spread over several
// subflows, by the Identification count, for a bounded time, whatever they speak.
// TCP keeps the order of what comes by one subflow, so a flow that comes so never
// waits; a gap says that something is under way elsewhere. It is never waited for
// across flows.

const (
	reseqFlows   = 4096     // known at once: some MiB
	reseqPackets = 4096     // held for one flow at most: 50 ms at 1 Gbit/s
	reseqBytes   = 16 << 20 // held for all
	reseqFlight  = 128      // packets that may overtake a flow's first one
	reseqIdle    = 60e9     // ns of silence after which a flow is forgotten
	reseqSweep   = 1e9      // how often idle flows are forgotten
	reseqRecent  = 64       // flows that are found without the table; a power of two
	reseqList    = 64       // places for held packets that a flow keeps when it holds none,
	reseqLists   = 8        // longer lists that are kept for the next flows that do,
	reseqSpent   = 8192     // and places for packets that were delivered
	reseqDue     = 512      // packets with which a tick ends

	// reseqLeast is the mean length of packets, in bytes, from which order is
	// worth a wait of as long as paths differ. Smaller ones wait for reseqSmall at
	// most, ns, which is what swaps packets that left together; and those of QUIC,
	// acknowledgements, do not wait: they are better early than in order.
	reseqLeast = 400
	reseqSmall = 4e6
	// spreadMemory is how long, in ns, a flow that came by another subflow than
	// before counts as spread.
	spreadMemory = 2e9

	// flowMemory is what the record of a flow takes, with its place in the table, and
	// heldMemory what a packet does in a flow's list of those held, beside its buffer.
	flowMemory = 256
	heldMemory = 24
)

// A Resequencer orders the flows that come by several subflows. It is guarded by its
// owner, who delivers what it returns before anybody else adds to it, so that two
// readers cannot swap what was just put in order.
type Resequencer struct {
	// wants says that a rule asks for order in what comes with that key.
	wants   func(k packet.Key, tos uint8) bool
	flows   map[packet.Key]*rflow
	recent  [reseqRecent]*rflow // by ports
	holding []*rflow            // flows with held packets, and some that had
	spent   []*buf.Buffer       // held packets that were returned, see done
	count   int                 // packets held in all,
	bytes   int                 // and the memory of their buffers
	places  int                 // in lists of held packets, used or not
	lists   [][]held            // such that no flow has now,
	listed  bool                // one of which was taken since the last sweep
	swept   int64

	Restored uint64 // packets that were put in order,
	Expired  uint64 // and gaps that were given up
	Spreads  uint64 // flows that began to come by several subflows
}

// New makes one; wants says that a rule asks for order in what comes with
// that key and type of service.
func New(wants func(k packet.Key, tos uint8) bool) *Resequencer {
	return &Resequencer{wants: wants, flows: make(map[packet.Key]*rflow)}
}

// An rflow is one flow in the receiving direction.
type rflow struct {
	key     packet.Key
	next    uint32 // Identification that is due
	six     bool
	quic    bool // began as QUIC does
	seen    int
	mean    int // smoothed length
	last    int64
	order   bool   // wants it always: as QUIC, or by a rule
	via     int    // slot of the subflow that brought the last packet,
	moved   int64  // and when it was last another one; 0 = never
	listed  bool   // among those that hold packets
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

// Add takes one packet that came by the subflow of that slot and appends to views
// what is due now. What has to wait is copied; what is returned is borrowed: of the
// caller, or of the resequencer until done is called. spread says that the order of
// the packet's flow is kept, so that what is due has to be delivered before the next
// call. Flows that come by one subflow need no such care: its reader is the only one
// that has any of their packets. When Spreads has grown, the reader before this one may
// still have some: they have to be delivered first.
func (r *Resequencer) Add(slot int, pkt []byte, views [][]byte, now int64) (due [][]byte, spread bool) {
	f := r.flow(pkt)
	if f == nil {
		return append(views, pkt), false
	}
	if f.via != slot {
		if f.via != noSlot {
			if !f.spread(now) {
				r.Spreads++
			}
			f.moved = now
		}
		f.via = slot
	}
	views = r.arrive(f, pkt, views, now)
	return views, f.spread(now)
}

// Done gives back the held packets that were returned: they have been delivered.
func (r *Resequencer) Done() {
	for i, b := range r.spent {
		b.Release()
		r.spent[i] = nil
	}
	if r.spent = r.spent[:0]; cap(r.spent) > reseqSpent {
		r.spent = nil
	}
}

// flow returns the state of a packet's flow, or nil when there are too many,
// or for a fragment: its Identification counts nothing.
func (r *Resequencer) flow(pkt []byte) *rflow {
	if packet.IsFragment(pkt) {
		return nil
	}
	var k packet.Key
	packet.KeyOf(pkt, &k)
	recent := &r.recent[(k.SrcPort^k.DstPort*31)&(reseqRecent-1)]
	if *recent != nil && (*recent).key == k {
		return *recent
	}
	f := r.flows[k]
	if f == nil {
		if len(r.flows) >= reseqFlows && !r.forgetOne() {
			return nil
		}
		f = &rflow{key: k, next: firstOf(packet.ID(pkt)), six: pkt[0]>>4 == 6, order: r.wants(k, packet.TOS(pkt)), via: noSlot}
		r.flows[k] = f
	}
	*recent = f
	return f
}

// firstOf is the number that is due when a flow is seen for the first time: senders count
// from zero, and what comes before id may be under way elsewhere. A flow that was only
// forgotten here is further on.
func firstOf(id uint32) uint32 {
	if id <= reseqFlight {
		return 0
	}
	return id
}

// spread says that the flow may come by several subflows at once.
func (f *rflow) spread(now int64) bool { return f.order || f.moved != 0 && now-f.moved < spreadMemory }

// patience is how long a gap is waited for, of bound at most; 0 = not at all.
func (f *rflow) patience(now, bound int64) int64 {
	switch {
	case !f.spread(now), f.quic && f.mean < reseqLeast:
		return 0
	case f.mean < reseqLeast:
		return min(bound, reseqSmall)
	}
	return bound
}

// forgetOne makes room in the table: of a few flows, in no order, the one goes that
// has been silent the longest and holds nothing. One that wants order stays while
// there is another.
func (r *Resequencer) forgetOne() bool {
	var worst *rflow
	seen := 0
	for _, f := range r.flows {
		if len(f.waiting) == 0 && (worst == nil || worst.order && !f.order || worst.order == f.order && f.last < worst.last) {
			worst = f
		}
		if seen++; seen == 16 {
			break
		}
	}
	if worst == nil {
		return false
	}
	r.forget(worst.key, worst)
	return true
}

// noSlot is no subflow's.
const noSlot = -1

func (r *Resequencer) forget(k packet.Key, f *rflow) {
	f.key = packet.Key{} // the recent one must not match
	r.unlist(f)
	delete(r.flows, k)
}

// unlist takes the list of a flow that holds nothing. A long one is kept for the next flow:
// were it the flow's own, thousands of flows would have one each.
func (r *Resequencer) unlist(f *rflow) {
	if n := cap(f.waiting); n > reseqList && len(r.lists) < reseqLists {
		r.lists = append(r.lists, f.waiting[:0])
	} else {
		r.places -= n
	}
	f.waiting = nil
}

// list gives a flow that holds nothing a list.
func (r *Resequencer) list(f *rflow) {
	if n := len(r.lists) - 1; n >= 0 && cap(f.waiting) == 0 {
		f.waiting, r.lists[n] = r.lists[n], nil
		r.lists, r.listed = r.lists[:n], true
	}
}

// arrive takes one packet and appends to views what is due.
func (r *Resequencer) arrive(f *rflow, pkt []byte, views [][]byte, now int64) [][]byte {
	id := packet.ID(pkt)
	f.last = now
	if f.seen == 0 {
		f.mean = len(pkt)
	}
	f.mean += (len(pkt) - f.mean) / 8
	if f.seen < 16 {
		f.seen++
		f.quic = f.quic || packet.IsQUIC(packet.UDPPayload(pkt))
		f.order = f.order || f.quic
	}
	d := f.distance(id)
	if d > 0 && f.mean >= reseqLeast && !f.spread(now) {
		// Only what got a number counts, and one subflow keeps the order: this is the first
		// that is seen of a flow that another one has a part of, too.
		f.moved = now
	}
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
	case f.patience(now, 1) == 0 || len(f.waiting) >= reseqPackets || d > reseqPackets || r.bytes >= reseqBytes:
		views = append(r.flush(f, views), pkt)
		f.next = id + 1
		return views
	}
	r.hold(f, id, pkt, now)
	return views
}

// hold keeps a copy, sorted.
func (r *Resequencer) hold(f *rflow, id uint32, pkt []byte, now int64) {
	b := buf.Get(len(pkt))
	copy(b.Bytes(), pkt)
	i := len(f.waiting) // most come in order
	if at := f.distance(id); i > 0 && f.distance(f.waiting[i-1].id) > at {
		i = sort.Search(i, func(k int) bool { return f.distance(f.waiting[k].id) > at })
	}
	r.list(f)
	r.places -= cap(f.waiting)
	f.waiting = append(f.waiting, held{})
	r.places += cap(f.waiting)
	copy(f.waiting[i+1:], f.waiting[i:])
	f.waiting[i] = held{id, now, b}
	r.count++
	r.bytes += b.Held()
	if !f.listed {
		f.listed = true
		r.holding = append(r.holding, f)
	}
}

// release appends what has become due.
func (r *Resequencer) release(f *rflow, views [][]byte) [][]byte {
	n := 0
	for n < len(f.waiting) && f.distance(f.waiting[n].id) <= 0 {
		if f.distance(f.waiting[n].id) == 0 {
			f.next++
		}
		n++
	}
	r.Restored += uint64(n)
	return r.pop(f, n, views)
}

// flush appends all that is held.
func (r *Resequencer) flush(f *rflow, views [][]byte) [][]byte {
	return r.pop(f, len(f.waiting), views)
}

func (r *Resequencer) pop(f *rflow, n int, views [][]byte) [][]byte {
	if n == 0 {
		return views
	}
	for _, h := range f.waiting[:n] {
		views = append(views, h.b.Bytes())
		r.bytes -= h.b.Held()
		r.spent = append(r.spent, h.b)
	}
	r.count -= n
	rest := f.waiting[:copy(f.waiting, f.waiting[n:])]
	clear(f.waiting[len(rest) : len(rest)+n])
	if f.waiting = rest; len(rest) == 0 && cap(rest) > reseqList {
		r.unlist(f)
	}
	return views
}

// Holds says that something waits.
func (r *Resequencer) Holds() bool { return r.count > 0 }

// Held is how many bytes of memory there are for what waits, and for the flows that are known.
func (r *Resequencer) Held() int { return r.bytes + heldMemory*r.places + flowMemory*len(r.flows) }

// Tick gives up on gaps that are older than bound, forgets idle flows, and appends to
// views what is due now, some thousands of packets at most: more says that there are more,
// for which it is to be called again when these are delivered.
func (r *Resequencer) Tick(now, bound int64, views [][]byte) (due [][]byte, more bool) {
	keep := r.holding[:0]
	for i, f := range r.holding {
		if more = len(views) >= reseqDue; more {
			keep = append(keep, r.holding[i:]...)
			break
		}
		views = r.expire(f, now-f.patience(now, bound), views)
		if f.listed = len(f.waiting) > 0; f.listed {
			keep = append(keep, f)
		}
	}
	clear(r.holding[len(keep):])
	r.holding = keep
	if now-r.swept > reseqSweep {
		r.swept = now
		for k, f := range r.flows {
			if len(f.waiting) == 0 && now-f.last > reseqIdle {
				r.forget(k, f)
			}
		}
		if !r.listed {
			for _, l := range r.lists {
				r.places -= cap(l)
			}
			r.lists = nil
		}
		r.listed = false
	}
	return views, more
}

// expire appends what has waited since before a time, and what it has become due with or before.
// What is due first need not have waited the longest.
func (r *Resequencer) expire(f *rflow, since int64, views [][]byte) [][]byte {
	last := len(f.waiting) - 1
	for last >= 0 && f.waiting[last].at >= since {
		last--
	}
	for _, h := range f.waiting[:last+1] {
		switch d := f.distance(h.id); {
		case d > 0:
			r.Expired++
			f.next = h.id + 1
		case d == 0:
			f.next++
		}
	}
	r.Restored += uint64(last + 1)
	return r.release(f, r.pop(f, last+1, views))
}
