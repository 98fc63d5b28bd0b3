package engine

import (
	"slices"

	"github.com/mpsocks/mpsocks/mux/dsn"
	"github.com/mpsocks/mpsocks/mux/sched"
)

// Reinjection (RFC 8684, Section 3.3.6): what a subflow that ended or stalled
// still holds goes out on others, with the same mapping; the receiver keeps
// what comes first.

// A held is what has a DSN: what has no Data ACK yet, and of that, what is to go again.
type held struct {
	out   dsn.InFlight
	redo  []uint64 // segment numbers to send again, the oldest first,
	bound []uint64 // and those of flows that are for some paths only, about so
	again uint64   // how many went again
	lack  lack
}

// waits says that something is to go again.
func (h *held) waits() bool { return len(h.redo)+len(h.bound) > 0 }

// memory is how many bytes the lists of what is to go again take.
func (h *held) memory() int { return (cap(h.redo) + cap(h.bound)) * 8 }

// queue has a segment go again, unless it waits for that already.
func (h *held) queue(sn uint64) {
	switch sg := h.out.At(sn); {
	case sg.Again:
		return
	case sg.Paths != 0:
		sg.Again = true
		h.bound = append(h.bound, sn)
	default:
		sg.Again = true
		h.redo = append(h.redo, sn)
	}
}

// order puts the oldest first, for which the cumulative Data ACK waits: of redo, what queue has added
// behind the first n. Those are in order, and are not sorted anew for whoever has one more go again.
func (h *held) order(n int) {
	added := h.redo[n:]
	slices.Sort(added)
	if len(added) == 0 || n == 0 || h.redo[n-1] < added[0] {
		return
	}
	added = slices.Clone(added)
	for at, k := len(h.redo)-1, len(added)-1; k >= 0; at-- {
		if n > 0 && h.redo[n-1] > added[k] {
			n--
			h.redo[at] = h.redo[n]
			continue
		}
		h.redo[at] = added[k]
		k--
	}
}

// reclaim queues everything of a subflow that ended and has no Data ACK.
func (h *held) reclaim(f *Subflow) {
	n, bit := len(h.redo), uint64(1)<<f.slot
	for i := f.marks.head; i < f.marks.tail; i++ {
		if sn := f.marks.at(i).sn; h.out.Live(sn) != nil {
			h.out.At(sn).On &^= bit | arrived
			h.queue(sn)
		}
	}
	h.unassign(f)
	h.order(n)
}

// unassign takes back what a subflow has been given and nobody has begun to write.
func (h *held) unassign(f *Subflow) {
	for _, sn := range f.pending {
		h.out.Unpin(sn)
		if sg := h.out.Live(sn); sg != nil {
			sg.On &^= 1 << f.slot
			h.queue(sn)
		}
	}
	f.pending, f.pendingSize, f.gather.since = f.pending[:0], 0, 0
}

// forget drops what was to go again: its numbers mean nothing in another session.
func (h *held) forget(paths []*Path) {
	h.redo, h.bound = h.redo[:0], h.bound[:0]
	for _, p := range paths {
		p.waits = 0
	}
}

// surrender queues what the peer's kernel has not acknowledged of a stale subflow, and
// what it was given: each once, for whoever takes it over has it go again himself.
func (h *held) surrender(f *Subflow) {
	n := len(h.redo)
	for i := max(f.marks.una, f.surrendered); i < f.marks.tail; i++ {
		if sn := f.marks.at(i).sn; h.out.Live(sn) != nil {
			h.queue(sn)
		}
	}
	f.surrendered = f.marks.tail
	h.unassign(f)
	h.order(n)
}

const (
	// thinOwn is how many bytes a subflow that carries no bulk may have, its own, and still be
	// given what goes again: a small flow is to find it empty, and TCP's window small there.
	thinOwn = 4 << 10
	// redoSmall is what is no more than that, in bytes, and so a small flow's: it goes again by what stands still, too.
	redoSmall = 600
	// redoLook is how many segments are looked at behind the first that finds no room: what is
	// small enough for the thin subflows does not wait for bulk.
	redoLook = 256
	// boundLook is how many of those that are for some paths only are looked at in one turn: the
	// others are in the next ones.
	boundLook = 256
)

// thin are the subflows of that set that a segment of n bytes would fill for the small flows,
// where one that carries bulk can have it, or where nothing comes of what they are given.
func (r *chooser) thin(set uint64, n int) (thin uint64) {
	bulk, still := false, r.still
	if n <= redoSmall {
		still = 0
	}
	for i, f := range r.candSub {
		switch {
		case set&(1<<i) == 0:
		case r.cands[i].Bulk && still&(1<<i) == 0:
			bulk = true
		case f.tx.outstanding+f.pendingSize+n > thinOwn: // with what it got in this turn
			thin |= 1 << i
		}
	}
	if !bulk {
		return thin & still
	}
	return thin
}

// reinject gives segments again whose subflow ended or stalled.
func (h *held) reinject(r *chooser, now int64) {
	if !h.waits() || !r.roomy() {
		return
	}
	set := sched.Usable(r.cands, false)
	at, kept := 0, 0
	for look := len(h.redo); at < look; at++ {
		sn := h.redo[at]
		sg := h.due(r, sn)
		if sg != nil && !h.repeat(r, sn, sg, set) {
			h.redo[kept] = sn
			kept++
			look = min(look, at+redoLook)
		}
	}
	// Those that wait on are moved, and not all that are behind them.
	copy(h.redo[at-kept:], h.redo[:kept])
	if h.redo = h.redo[at-kept:]; len(h.bound) > 0 {
		h.reinjectBound(r, set, now)
	}
}

// reinjectBound is reinject for those of flows that are for some paths only.
func (h *held) reinjectBound(r *chooser, set uint64, now int64) {
	ways := r.ways(now)
	n := min(len(h.bound), boundLook)
	kept := h.bound[:0]
	for _, sn := range h.bound[:n] {
		sg := h.due(r, sn)
		if sg != nil && !h.repeat(r, sn, sg, ways.own(sg.Paths, set)) {
			kept = append(kept, sn)
		}
	}
	if n == len(h.bound) {
		h.bound = kept
		return
	}
	h.bound = append(h.bound[n:], kept...)
}

// due returns the segment that is to go again, or nil if that is not so any more.
func (h *held) due(r *chooser, sn uint64) *dsn.Segment {
	sg := h.out.Live(sn)
	if sg == nil {
		return nil
	}
	if sg.On&arrived != 0 || moving(r.e.subs, sg.On) {
		sg.Again = false
		return nil
	}
	return sg
}

// repeat gives one to a subflow of the set that has not had it, and reports whether there is one.
func (h *held) repeat(r *chooser, sn uint64, sg *dsn.Segment, set uint64) bool {
	for i := range r.cands {
		if sg.On&(1<<r.candSub[i].slot) != 0 {
			set &^= 1 << i
		}
	}
	n := int(sg.N)
	i := sched.PickSmall(r.cands, set&^r.thin(set, n), n, r.e.table.turn)
	if i == sched.NoSubflow {
		return false
	}
	r.give(i, sn, n, nil)
	sg.Again = false
	h.again++
	return true
}

// moving reports whether some subflow of the set is alive.
func moving(subs []*Subflow, on uint64) bool {
	for _, f := range subs {
		if on&(1<<f.slot) != 0 && f.Moves() {
			return true
		}
	}
	return false
}
