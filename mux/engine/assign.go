package engine

import (
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/sched"
)

// From the queue to the subflows: what leaves the queue gets its DSN and a place
// in a subflow's next batch, as the scheduler says. It is done by whoever
// brings something.

// Assign moves packets from the queue to subflows: first what must go again,
// then band by band, as long as the scheduler finds room.
func (e *Engine) Assign(now int64) {
	if len(e.held.redo) == 0 && e.table.queue.Idle() || e.fin != 0 {
		return
	}
	e.list(now)
	if len(e.cands) == 0 {
		return
	}
	e.held.reinject(e)
	if e.held.out.Full() {
		return
	}
	e.assignSmall(now)
	e.assignBulk(now, fq.LargeBands)
	if e.table.queue.Least(fq.LargeBands) == fq.NoBand {
		e.assignBulk(now, fq.BackupBands)
	}
}

// assignSmall serves the latency band: each packet where it arrives first,
// with copies while they pay.
func (e *Engine) assignSmall(now int64) {
	b := &e.table.queue.Bands[fq.ClassLatency]
	set := sched.Usable(e.cands, false)
	for !b.Empty() && !e.held.out.Full() {
		i := sched.PickSmall(e.cands, set, fq.Quantum, e.table.turn)
		if i == sched.NoSubflow {
			return
		}
		e.table.turn++
		f, p := e.table.queue.Pop(fq.ClassLatency, now, SegmentSize)
		if p == nil {
			return
		}
		n := p.Len()
		switch {
		case f.Behaviour.QUIC:
			i = sched.PickSteady(e.cands, set, fq.Quantum, f.Home)
		case !e.lossy:
			i = sched.Settled(e.cands, set, fq.Quantum, i, e.candidateAt(f.At))
		}
		f.At = uint8(e.candSub[i].slot)
		sn := e.commit(f, p, now)
		e.give(i, sn, n, f)
		if want := e.copies(f, n); want > 0 {
			e.copy(sn, n, f, set, 1<<i, want)
		}
	}
}

// candidateAt returns the candidate of a subflow's slot, or noSubflow.
func (e *Engine) candidateAt(slot uint8) int {
	for i, f := range e.candSub {
		if f.slot == int(slot) {
			return i
		}
	}
	return sched.NoSubflow
}

// copy gives a packet to more subflows: other paths first, then, on paths
// that lose packets, others of the same path.
func (e *Engine) copy(sn uint64, n int, f *fq.Flow, set, carried uint64, want int) {
	for _, same := range [2]bool{false, true} {
		for want > 0 {
			if same && !e.lossy {
				return
			}
			turn := f.Home // copies keep their order as well
			if e.lossy {
				turn = e.table.turn
			}
			i := sched.PickCopy(e.cands, set, carried, n, turn, same)
			if i == sched.NoSubflow {
				break
			}
			carried |= 1 << i
			e.give(i, sn, n, f)
			e.table.turn++
			want--
			f.Copies++
			e.copied += uint64(n)
			e.budget.Spend(n)
			if !same {
				break
			}
		}
	}
}

// assignBulk serves bands side by side, in bursts, the one first that has got
// least: flows of one may find room where those of another may not go.
func (e *Engine) assignBulk(now int64, bands fq.BandSet) {
	left := bands // but for those that find none now
	for !e.held.out.Full() {
		first := e.table.queue.Least(left)
		if first == fq.NoBand {
			return
		}
		if e.burst(first, now) {
			left = bands
		} else {
			left &^= 1 << first
		}
	}
}

// burst makes one choice for a band, then gives as much as fits. It reports
// whether that was anything.
func (e *Engine) burst(band fq.Class, now int64) bool {
	b := &e.table.queue.Bands[band]
	f := b.First()
	if f == nil {
		return false
	}
	kind, policy := band.Kind(), e.table.mode.policy()
	all := sched.Usable(e.cands, kind.Metered)
	set, ordered := all, kind.Spread == fq.SpreadTogether
	switch kind.Spread {
	case fq.SpreadTogether:
		set = sched.Together(e.cands, set)
	case fq.SpreadInPath:
		set = sched.Lanes(e.cands, set)
	}
	i := sched.PickBulk(e.cands, set, e.table.queue.Backlog(), f.Waited(now), ordered)
	if policy.nearest {
		i = sched.PickSmall(e.cands, set, fq.Quantum, 0)
	}
	if i == sched.NoSubflow {
		return false
	}
	c := &e.cands[i]
	e.candSub[i].bulkAt = now
	given := 0
	for c.Room > 0 && !b.Empty() && !e.held.out.Full() {
		flows := b.Active
		f, p := e.table.queue.Pop(band, now, SegmentSize)
		if p == nil {
			break
		}
		n := p.Len()
		given += n
		e.table.queue.Serve(band, flows, n)
		sn := e.commit(f, p, now)
		e.give(i, sn, n, f)
		if policy.always {
			e.copy(sn, n, f, all, 1<<i, 1)
		}
	}
	return given > 0
}

// commit gives a packet its DSN. From here on it is delivered.
func (e *Engine) commit(f *fq.Flow, p *buf.Buffer, now int64) uint64 {
	b := p.Bytes()
	f.Octets += uint64(len(b))
	f.Used.Turn(now)
	if f.Stream != nil {
		e.table.classify(f, len(b), nil, now)
		f.Packets++
	} else if !packet.IsFragment(b) { // the Identification of fragments joins them
		// It counts what got a DSN, so that the receiver of a flow that was
		// spread sees gaps only where something is still under way.
		packet.SetID(b, f.ID)
		f.ID++
	}
	e.octets += uint64(len(b))
	return e.held.out.Push(p)
}

// give puts a segment into a subflow's next batch.
func (e *Engine) give(i int, sn uint64, n int, fl *fq.Flow) {
	c, f := &e.cands[i], e.candSub[i]
	sg := e.held.out.At(sn)
	sg.On |= 1 << f.slot
	sg.Pins++
	f.pending = append(f.pending, sn)
	f.pendingSize += n + FrameHead
	c.Queued += n + FrameHead
	c.Room -= n + FrameHead
	f.sent += uint64(n)
	f.path.sent += uint64(n)
	f.path.share += float64(n)
	if fl != nil {
		fl.Used.Now |= 1 << f.slot
	}
}

// copies says how many copies a packet of n bytes of a small flow gets.
func (e *Engine) copies(f *fq.Flow, n int) int {
	switch p := e.table.mode.policy(); {
	case p.always:
		return 1
	case p.budgeted && f.Behaviour.Copied() && e.budget.Covers(n) && e.farEnough:
		return sched.MaxCopies
	}
	return 0
}

// list lists the subflows as the scheduler sees them.
func (e *Engine) list(now int64) {
	e.cands, e.candSub = e.cands[:0], e.candSub[:0]
	if e.farEnough {
		e.countFlight()
	}
	e.views++
	lead := e.lead()
	for _, f := range e.subs {
		if f.state == Ended {
			continue
		}
		p := f.path
		if p.viewed != e.views { // once for all of its subflows
			p.viewed, p.view = e.views, p.candidate(now)
		}
		c := p.view
		c.Stale = c.Stale || f.state.Stale()
		c.Queued, c.Own = f.pendingSize, f.tx.outstanding+f.pendingSize
		c.Bulk, c.Backup = f.bulk, f.backup
		if f.bulk && c.Own > RecordSize {
			c.Ahead = lowatTime
		}
		c.Open = c.Own < f.window(p == lead)
		burst := min(max(f.lowat, MinLowat), BurstSize)
		if f.blocked {
			c.Queued += burst
		} else {
			c.Room = burst - f.pendingSize
		}
		if age := f.age(now); e.farEnough && f.overdue(age) {
			c.Suspect, c.Doubt = true, f.stallTime()
		}
		e.cands = append(e.cands, c)
		e.candSub = append(e.candSub, f)
	}
}

// countFlight adds up what the paths hold.
func (e *Engine) countFlight() {
	for _, p := range e.paths {
		p.flight = 0
	}
	for _, f := range e.subs {
		if f.state == Moving {
			f.path.flight += f.tx.outstanding
		}
	}
}

// lead returns the path that has lately brought most.
func (e *Engine) lead() (lead *Path) {
	for _, p := range e.paths {
		if lead == nil || p.proven > lead.proven {
			lead = p
		}
	}
	return lead
}
