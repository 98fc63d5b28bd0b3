package mux

import (
	"sync"

	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/hands"
	"github.com/mpsocks/mpsocks/mux/reseq"
)

// A delivery hands datagrams to the handler. Those of flows that are put in order it
// delivers with its lock held, so that two readers cannot swap them again; a Handler
// may Send, so this lock is taken before the engine's.
type delivery struct {
	to Handler

	mu    sync.Mutex // guards all below
	order *reseq.Resequencer
	late  [][]byte // scratch of tick

	// alone is held, by slot, while a subflow's reader delivers without mu. It is taken
	// with mu held.
	alone [engine.MaxSubflows]sync.Mutex
}

// deliver takes the datagrams that a subflow brought. It returns views, which is scratch,
// and whether something is held back now.
func (d *delivery) deliver(slot int, pkts []received, views [][]byte, now int64) (_ [][]byte, held bool) {
	d.mu.Lock()
	ordered, spreads := false, d.order.Spreads
	for i := range pkts {
		var spread bool
		views, spread = d.order.Add(slot, pkts[i].pkt, views, now)
		ordered = ordered || spread
	}
	if !ordered {
		held = d.order.Holds()
		d.alone[slot].Lock()
		defer d.alone[slot].Unlock()
		d.mu.Unlock()
		d.to.Deliver(views)
		return views, held
	}
	defer d.mu.Unlock()
	if d.order.Spreads != spreads {
		d.await()
	}
	d.hand(views)
	return views, d.order.Holds()
}

// await waits for readers that deliver without the lock: one of them may still have
// the packets of a flow that this one goes on with. The caller holds mu.
func (d *delivery) await() {
	for i := range d.alone {
		d.alone[i].Lock()
	}
	for i := range d.alone {
		d.alone[i].Unlock()
	}
}

// hand delivers views and gives back the held packets among them. The caller holds mu.
func (d *delivery) hand(views [][]byte) {
	if len(views) > 0 {
		d.to.Deliver(views)
	}
	d.order.Done()
}

// tick delivers what has waited for bound, in ns, and reports whether anything still
// waits.
func (d *delivery) tick(now, bound int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for more := true; more; {
		d.late, more = d.order.Tick(now, bound, d.late[:0])
		d.hand(d.late)
		clear(d.late)
		if more { // that was long
			hands.Yield()
		}
	}
	if cap(d.late) > 8*maxScratch { // more than of a whole flow
		d.late = nil
	}
	return d.order.Holds()
}

// holds says that something waits.
func (d *delivery) holds() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.order.Holds()
}

// memory is how many bytes there are for what waits, and for what is known of flows.
func (d *delivery) memory() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.order.Held()
}

// counts returns how many packets were put in order, and how many gaps given up.
func (d *delivery) counts() (restored, expired uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.order.Restored, d.order.Expired
}
