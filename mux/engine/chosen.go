package engine

import (
	"math/bits"

	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/sched"
)

// Flows that may use some paths only. Each has a choice of its own, as its class wants it,
// among the subflows of these paths, whether they are metered, backups or none of both.
// While none of the paths is there what they send waits, and grows stale, as on a link
// that is down: it never goes another way. What has its number then already is brought to
// its end by the others after a while, as the data sequence allows no gap.

// mostChosen bounds the flows that one turn looks at: whoever asks for paths can have thousands
// that wait for one that is not there, and brings what others wait for.
const mostChosen = 256

// assignChosen serves them, the small ones or the others.
func (r *chooser) assignChosen(now int64, turn fq.Turn) {
	q := &r.e.table.queue
	if q.Bands[fq.ClassChosen].Empty() {
		q.Barred = false
		return
	}
	r.chosen = q.Chosen(r.chosen[:0], mostChosen)
	all := len(r.chosen) == q.Bands[fq.ClassChosen].Active
	if all {
		q.Turned(1)
	} else if turn == fq.TurnLarge { // both turns look at the same ones
		q.Turned(len(r.chosen))
	}
	found := false
	for _, f := range r.chosen {
		if r.e.table.heed(f, now); f.Band != fq.ClassChosen { // another wish since
			continue
		}
		set := r.mine(f.Wish)
		if set == 0 {
			q.Expire(f, now)
			continue
		}
		found = true
		if (f.Class.Kind().Turn == fq.TurnFirst) == (turn == fq.TurnFirst) {
			r.serve(f, set, now)
		}
	}
	if found {
		r.barred = 0
	} else if turn == fq.TurnLarge {
		r.barred += len(r.chosen)
	}
	q.Barred = !found && (all || r.barred >= q.Bands[fq.ClassChosen].Active)
	clear(r.chosen)
}

// mine returns the subflows that a wish leaves; none where all that moves is elsewhere.
func (r *chooser) mine(w *fq.Wish) (set uint64) {
	for i, f := range r.candSub {
		if may(w, f.path) {
			set |= 1 << i
		}
	}
	set = sched.UsableOf(r.cands, set, true)
	for i := range r.cands {
		if set&(1<<i) != 0 && !r.cands[i].Stale {
			return set
		}
	}
	return 0
}

// serve gives what a flow has to its subflows, as far as they have room.
func (r *chooser) serve(f *fq.Flow, set uint64, now int64) {
	q := &r.e.table.queue
	for !r.e.held.out.Full() {
		small := f.Class.Kind().Turn == fq.TurnFirst
		if !small {
			set &^= r.still
		}
		i, most := r.pick(f, set, now)
		if i == sched.NoSubflow {
			return
		}
		p := q.PopOf(f, now, most)
		if p == nil {
			return
		}
		n := p.Len()
		f.At = uint8(r.candSub[i].slot)
		sn := r.commit(f, p, now)
		r.give(i, sn, n, f)
		r.e.held.out.At(sn).Paths = r.pathsOf(set)
		want := 0
		switch {
		case small:
			r.e.table.turn++
			want = r.copies(f, n)
		case r.e.table.mode.policy().always:
			want = 1
		}
		if !small {
			r.gaveBulk(i, f.Class.Kind(), now)
		}
		if want > 0 {
			r.copy(sn, n, f, set, 1<<i, want, now)
		}
	}
}

// pick chooses for one packet of a flow, as its class wants it, and how large it may be, in bytes.
func (r *chooser) pick(f *fq.Flow, set uint64, now int64) (i, most int) {
	kind := f.Class.Kind()
	if kind.Turn == fq.TurnFirst || r.e.table.mode.policy().nearest {
		i = sched.PickSmall(r.cands, set, fq.Quantum, r.e.table.turn)
		switch {
		case i == sched.NoSubflow || sched.Soon(r.cands, set, fq.Quantum, i):
			i = sched.NoSubflow
		case f.Behaviour.QUIC:
			i = sched.PickSteady(r.cands, set, fq.Quantum, f.Home)
		case !r.e.lossy:
			i = sched.Settled(r.cands, set, fq.Quantum, i, r.candidateAt(f.At))
		}
		return i, SegmentSize
	}
	ordered := kind.Spread == fq.SpreadTogether
	if ordered {
		set = sched.Together(r.cands, set)
	}
	backlog := f.Bytes
	if f.Stream != nil {
		backlog = fq.StreamBacklog
	}
	i, most, _ = r.pickLarge(f, set, backlog, ordered, now)
	return i, most
}

// pathsOf returns the paths of some subflows, a bit each.
func (r *chooser) pathsOf(set uint64) (paths uint16) {
	for i := range r.cands {
		if set&(1<<i) != 0 {
			paths |= 1 << r.cands[i].Path
		}
	}
	return paths
}

// ownWait is how long, in ns, what a stalled subflow held waits for the paths that its flow
// is for before others take it: a busy machine stalls a path for some tenths of a second.
const ownWait = 1e9

// ways are which subflows carry again what is for some paths only.
type ways struct {
	moving [MaxPaths]uint64 // of each path
	fresh  uint16           // paths with some that have only just stalled
}

func (r *chooser) ways(now int64) (w ways) {
	for i := range r.cands {
		switch c := &r.cands[i]; {
		case c.Closed:
		case !c.Stale:
			w.moving[c.Path] |= 1 << i
		case now-r.candSub[i].staleAt < ownWait:
			w.fresh |= 1 << c.Path
		}
	}
	return w
}

// own chooses for a segment: those of the paths that its flow is for, none while these have only
// just stalled, and else the others.
func (w *ways) own(paths uint16, others uint64) (own uint64) {
	for p := paths; p != 0; p &= p - 1 {
		own |= w.moving[bits.TrailingZeros16(p)]
	}
	if own == 0 && w.fresh&paths == 0 {
		return others
	}
	return own
}
