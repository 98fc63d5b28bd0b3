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

const (
	// thinOwn is how many bytes a subflow that carries no bulk may have, its own, and still be
	// given what goes again: a small flow is to find it empty, and TCP's window small there.
	thinOwn = 4 << 10
	// redoLook is how many segments are looked at behind the first that finds no room: what is
	// small enough for the thin subflows does not wait for bulk.
	redoLook = 256
)

// thin are the subflows of that set that a segment of n bytes would fill for the small flows,
// where one that carries bulk can have it.
func (r *chooser) thin(set uint64, n int) (thin uint64) {
	bulk := false
	for i := range r.cands {
		if c := &r.cands[i]; set&(1<<i) == 0 {
			continue
		} else if c.Bulk {
			bulk = true
		} else if c.Own+n > thinOwn {
			thin |= 1 << i
		}
	}
	if !bulk {
		return 0
	}
	return thin
}

// reinject gives segments again whose subflow ended or stalled.
func (h *held) reinject(r *chooser, now int64) {
	set := sched.Usable(r.cands, false)
	left, look := h.redo[:0], len(h.redo)
	var paths uint16 // that the last one is for, and which may have those
	var own uint64
	for at, sn := range h.redo {
		if at >= look {
			left = append(left, h.redo[at:]...)
			break
		}
		sg := h.out.Live(sn)
		if sg == nil || sg.On&arrived != 0 || moving(r.e.subs, sg.On) {
			continue
		}
		n := int(sg.N)
		fit := set
		if sg.Paths != 0 {
			if sg.Paths != paths {
				paths, own = sg.Paths, r.sameWay(sg.Paths, set, now)
			}
			if fit = own; fit == 0 {
				left = append(left, sn)
				continue
			}
		}
		for i := range r.cands {
			if sg.On&(1<<r.candSub[i].slot) != 0 {
				fit &^= 1 << i
			}
		}
		i := sched.PickSmall(r.cands, fit&^r.thin(fit, n), n, r.e.table.turn)
		if i == sched.NoSubflow {
			left = append(left, sn)
			if sg.Paths == 0 { // else it is in nobody's way
				look = min(look, at+redoLook)
			}
			continue
		}
		r.give(i, sn, n, nil)
		paths = 0 // it may have filled them
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
