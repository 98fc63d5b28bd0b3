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
	redo  []uint64 // segment numbers to send again, the oldest first
	again uint64   // how many went again
	lack  lack
}

// reclaim queues everything of a subflow that ended and has no Data ACK.
func (h *held) reclaim(f *Subflow) {
	bit := uint64(1) << f.slot
	for i := f.marks.head; i < f.marks.tail; i++ {
		if sn := f.marks.at(i).sn; h.out.Live(sn) != nil {
			h.out.At(sn).On &^= bit | arrived
			h.redo = append(h.redo, sn)
		}
	}
	h.unassign(f)
	h.order()
}

// unassign takes back what a subflow has been given and nobody has begun to write.
func (h *held) unassign(f *Subflow) {
	for _, sn := range f.pending {
		h.out.Unpin(sn)
		if sg := h.out.Live(sn); sg != nil {
			sg.On &^= 1 << f.slot
			h.redo = append(h.redo, sn)
		}
	}
	f.pending, f.pendingSize, f.gather.since = f.pending[:0], 0, 0
}

// forget drops what was to go again: its numbers mean nothing in another session.
func (h *held) forget(paths []*Path) {
	h.redo = h.redo[:0]
	for _, p := range paths {
		p.waits = 0
	}
}

// order puts the oldest first: the cumulative Data ACK waits for it.
func (h *held) order() {
	slices.Sort(h.redo)
	h.redo = slices.Compact(h.redo)
}

// surrender queues what the peer's kernel has not acknowledged of a stale subflow, and
// what it was given.
func (h *held) surrender(f *Subflow) {
	for i := f.marks.una; i < f.marks.tail; i++ {
		if sn := f.marks.at(i).sn; h.out.Live(sn) != nil {
			h.redo = append(h.redo, sn)
		}
	}
	h.unassign(f)
	h.order()
}

// reinject gives segments again whose subflow ended or stalled.
func (h *held) reinject(r *chooser, now int64) {
	set := sched.Usable(r.cands, false)
	left := h.redo[:0]
	for at, sn := range h.redo {
		sg := h.out.Live(sn)
		if sg == nil || sg.On&arrived != 0 || moving(r.e.subs, sg.On) {
			continue
		}
		n := int(sg.N)
		fit := set
		if sg.Paths != 0 {
			fit = r.sameWay(sg.Paths, set, now)
		}
		for i := range r.cands {
			if sg.On&(1<<r.candSub[i].slot) != 0 {
				fit &^= 1 << i
			}
		}
		i := sched.PickSmall(r.cands, fit, n, r.e.table.turn)
		if i == sched.NoSubflow && sg.Paths != 0 { // it is in nobody's way
			left = append(left, sn)
			continue
		}
		if i == sched.NoSubflow {
			left = append(left, h.redo[at:]...)
			break
		}
		r.give(i, sn, n, nil)
		h.again++
	}
	h.redo = left
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
