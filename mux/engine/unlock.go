package engine

import (
	"math/bits"

	"github.com/mpsocks/mpsocks/mux/sched"
)

const (
	// unlockBytes is how much goes again at once, and unlockLook how many segments are looked at.
	unlockBytes = 64 << 10
	unlockLook  = 1024
)

// unlock is for when no more may be sent without a Data ACK: it waits for the oldest segments,
// and where a far or thin path has these, nothing goes by the others meanwhile, small flows
// included. What such a path alone still has goes once more by a nearer one, where it takes less
// time than it has been under way (Raiciu et al., NSDI 2012, call it opportunistic retransmission).
// behind is the one path that is to be relieved so although there is room, or nil.
func (h *held) unlock(r *chooser, now int64, behind *Path) {
	if !r.roomy() {
		return
	}
	q := &h.out
	set := sched.Usable(r.cands, false) &^ r.still
	given := 0
	var last *Path // whose both are
	var on, nearer uint64
	for sn := q.Head; sn < q.Tail && sn < q.Head+unlockLook && given < unlockBytes; sn++ {
		sg := q.Live(sn)
		if sg == nil || sg.On == 0 || sg.On&arrived != 0 || sg.Paths != 0 {
			continue
		}
		has := r.candidateAt(uint8(bits.TrailingZeros64(sg.On)))
		if has == sched.NoSubflow {
			continue
		}
		slow := r.candSub[has].path
		if slow != last {
			last, on, nearer = slow, slotsOf(slow), muchNearer(r, slow)
		}
		if set&nearer == 0 || sg.On&^on != 0 || behind != nil && slow != behind {
			continue
		}
		i := sched.PickSmall(r.cands, set&nearer, int(sg.N), r.e.table.turn)
		if i == sched.NoSubflow {
			continue
		}
		r.give(i, sn, int(sg.N), nil)
		h.again++
		given += int(sg.N)
	}
}

// muchNearer are the subflows of paths that take less than half of the time of that one.
func muchNearer(r *chooser, slow *Path) (set uint64) {
	for i, f := range r.candSub {
		if f.path != slow && nearer(f.path, slow) {
			set |= 1 << i
		}
	}
	return set
}

// nearer says that a path takes less than half of the time of another one.
func nearer(p, slow *Path) bool { return 2*max(p.srtt, p.rtt) < max(slow.srtt, slow.rtt) }
