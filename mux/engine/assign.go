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
// then band by band, as long as the scheduler finds room. It reports, once, that there is
// something now that cannot wait until the Tick that was asked for last.
func (e *Engine) Assign(now int64) (hurry bool) {
	if e.rec != nil {
		e.rec.note(entry{Op: "assign", Now: now})
	}
	held := behind(e, now)
	if !e.held.waits() && e.table.queue.Idle() && !e.table.queue.Barred && held == nil || e.fin != 0 {
		return false
	}
	e.held.out.Pass(now)
	if r := &e.choose; r.list(now) {
		if r.assign(now); held != nil {
			e.held.unlock(r, now, held)
		}
	}
	hurry = e.calm && (e.gaveBulk || !e.table.queue.Idle() || e.held.waits())
	e.calm = e.calm && !hurry
	return hurry
}

// roomy says that some subflow takes anything: where the kernel is full behind all of them, as behind a
// peer that reads nothing, there is no use in a look at what may go.
func (r *chooser) roomy() bool {
	for i := range r.cands {
		if r.cands[i].Room > 0 {
			return true
		}
	}
	return false
}

// assign does it with what was listed.
func (r *chooser) assign(now int64) {
	e := r.e
	e.held.reinject(r, now)
	if !e.held.waits() {
		moved(e.paths, now)
	}
	if e.held.out.Full() {
		e.held.unlock(r, now, nil)
		return
	}
	r.assignChosen(now, fq.TurnFirst)
	r.assignSmall(now)
	first := r.views%2 == 0 // in turn, as both want all that there is
	if first {
		r.assignChosen(now, fq.TurnLarge)
	}
	r.assignBulk(now, fq.LargeBands)
	if e.table.queue.Least(fq.LargeBands) == fq.NoBand {
		r.assignBulk(now, fq.BackupBands)
	}
	if !first {
		r.assignChosen(now, fq.TurnLarge)
	}
}

// moved notes that all that stalled and ended subflows of the paths held has gone again.
func moved(paths []*Path, now int64) {
	for _, p := range paths {
		if p.waits != 0 {
			p.moved, p.movedAt, p.waits = now-p.waits, now, 0
		}
	}
}

// A chooser gives what waits to subflows, as it has listed them.
type chooser struct {
	e       *Engine
	cands   []sched.Candidate
	candSub []*Subflow
	views   uint64 // how often they were listed
	chosen  []*fq.Flow
	barred  int           // flows that were looked at in a row and have no path
	leeway  [MaxPaths]int // of each path, see there
	still   uint64        // what is given nothing large: its path halts, or it is stale
}

// assignSmall serves the latency band: each packet where it arrives first,
// with copies while they pay.
func (r *chooser) assignSmall(now int64) {
	b := &r.e.table.queue.Bands[fq.ClassLatency]
	usable := sched.Usable(r.cands, false)
	for !b.Empty() && !r.e.held.out.Full() {
		set := usable
		if f := b.First(); f != nil && f.Stream != nil {
			set = spared(r, set, now)
		}
		i := sched.PickSmall(r.cands, set, fq.Quantum, r.e.table.turn)
		if i == sched.NoSubflow || sched.Soon(r.cands, set, fq.Quantum, i) {
			return
		}
		r.e.table.turn++
		f, p := r.e.table.queue.Pop(fq.ClassLatency, now, SegmentSize)
		if p == nil {
			return
		}
		n := p.Len()
		switch {
		case f.Behaviour.QUIC:
			i = sched.PickSteady(r.cands, set, fq.Quantum, f.Home)
		case !r.e.lossy:
			i = sched.Settled(r.cands, set, fq.Quantum, i, r.candidateAt(f.At))
		}
		f.At = uint8(r.candSub[i].slot)
		sn := r.commit(f, p, now)
		r.give(i, sn, n, f)
		if want := r.copies(f, n); want > 0 {
			r.copy(sn, n, f, set, 1<<i, want, now)
		}
	}
}

// candidateAt returns the candidate of a subflow's slot, or sched.NoSubflow.
func (r *chooser) candidateAt(slot uint8) int {
	for i, f := range r.candSub {
		if f.slot == int(slot) {
			return i
		}
	}
	return sched.NoSubflow
}

// copy gives a packet to more subflows: other paths first, then, on paths
// that lose packets, others of the same path.
func (r *chooser) copy(sn uint64, n int, f *fq.Flow, set, carried uint64, want int, now int64) {
	calm, original := r.calm(carried), carried
	for i, g := range r.candSub { // where it would wait behind others
		if g.path.filled {
			set &^= 1 << i
		}
	}
	for _, same := range [2]bool{false, true} {
		for want > 0 {
			if same && !r.e.lossy {
				return
			}
			turn := f.Home // copies keep their order as well
			if r.e.lossy {
				turn = r.e.table.turn
			}
			i := sched.PickCopy(r.cands, set, carried, n, turn, same)
			if i == sched.NoSubflow {
				break
			}
			carried |= 1 << i
			g := r.candSub[i]
			alone, gather := len(g.pending) == 0, g.gather
			r.give(i, sn, n, f)
			g.gather = gather
			g.gather.copied(now, alone, calm && !r.nearer(i, original))
			r.e.table.turn++
			want--
			f.Copies++
			r.e.copied += uint64(n)
			r.e.budget.Spend(n)
			if !same {
				break
			}
		}
	}
}

// assignBulk serves bands side by side, in bursts, the one first that has got
// least: flows of one may find room where those of another may not go.
func (r *chooser) assignBulk(now int64, bands fq.BandSet) {
	left := bands // but for those that find none now
	for !r.e.held.out.Full() {
		first := r.e.table.queue.Least(left)
		if first == fq.NoBand {
			return
		}
		if r.burst(first, now) {
			left = bands
		} else {
			left &^= 1 << first
		}
	}
}

// portionTime is how much of datagrams a path gets at one choice, in ns of its rate: what has
// come together and goes by one path is there with its last byte, and the others wait for it.
const portionTime = 500e3

// burst makes one choice for a band, then gives as much as fits. It reports
// whether that was anything.
func (r *chooser) burst(band fq.Class, now int64) bool {
	b := &r.e.table.queue.Bands[band]
	f := b.First()
	if f == nil {
		return false
	}
	kind, policy := band.Kind(), r.e.table.mode.policy()
	all := sched.Usable(r.cands, kind.Metered) &^ r.still
	set, ordered := all, kind.Spread == fq.SpreadTogether
	if ordered {
		set = sched.Together(r.cands, set)
	}
	i, most, far := r.pickLarge(f, set, r.e.table.queue.Backlog(), ordered, now)
	if policy.nearest {
		i, most, far = sched.PickSmall(r.cands, set, fq.Quantum, 0), SegmentSize, false
	}
	if i == sched.NoSubflow {
		return false
	}
	c := &r.cands[i]
	r.gaveBulk(i, kind, now)
	given := 0
	portion := int(c.Rate * portionTime)
	for c.Room > 0 && !b.Empty() && !r.e.held.out.Full() && (!far || given == 0) {
		if f := b.First(); portion > 0 && given >= portion && f != nil && f.Stream == nil {
			break
		}
		flows := b.Active
		f, p := r.e.table.queue.Pop(band, now, most)
		if p == nil {
			break
		}
		n := p.Len()
		given += n
		r.e.table.queue.Serve(band, flows, n)
		sn := r.commit(f, p, now)
		r.give(i, sn, n, f)
		if policy.always {
			r.copy(sn, n, f, all, 1<<i, 1, now)
		}
	}
	return given > 0
}

// pickLarge chooses where what a flow has goes, and how large a segment of a stream may be there, in
// bytes; once says that the next one is another choice.
func (r *chooser) pickLarge(f *fq.Flow, set uint64, backlog int, ordered bool, now int64) (i, most int, once bool) {
	for window := -1; ; {
		i = sched.PickBulk(r.cands, set, backlog, f.Waited(now), ordered)
		if i == sched.NoSubflow || f.Stream == nil {
			return i, SegmentSize, false
		}
		if k := sched.Within(r.cands, set, i); k != sched.NoSubflow {
			return k, SegmentSize, false
		}
		if window < 0 {
			window = f.Stream.Window()
		}
		if most, once = sched.Fits(r.cands, set, i, window, SegmentSize); most > 0 {
			return i, most, once
		}
		for k := range r.cands {
			if r.cands[k].Path == r.cands[i].Path {
				set &^= 1 << k
			}
		}
	}
}

// gaveBulk notes that a subflow gets something large of that kind.
func (r *chooser) gaveBulk(i int, kind *fq.Kind, now int64) {
	f := r.candSub[i]
	f.bulkAt, r.e.gaveBulk = now, true
	if kind.Spread == fq.SpreadTogether {
		f.path.ordered = now
	}
}

// commit gives a packet its DSN. From here on it is delivered.
func (r *chooser) commit(f *fq.Flow, p *buf.Buffer, now int64) uint64 {
	b := p.Bytes()
	f.Octets += uint64(len(b))
	f.Used.Turn(now)
	if f.Stream != nil {
		r.e.table.classify(f, len(b), nil, now)
		f.Active = now
		f.Packets++
	} else if !packet.IsFragment(b) { // the Identification of fragments joins them
		// It counts what got a DSN, so that the receiver of a flow that was
		// spread sees gaps only where something is still under way.
		packet.SetID(b, f.ID)
		f.ID++
	}
	r.e.octets += uint64(len(b))
	return r.e.held.out.Push(p)
}

// give puts a segment into a subflow's next batch.
func (r *chooser) give(i int, sn uint64, n int, fl *fq.Flow) {
	c, f := &r.cands[i], r.candSub[i]
	sg := r.e.held.out.At(sn)
	sg.On |= 1 << f.slot
	sg.Pins++
	f.pending = append(f.pending, sn)
	f.gather.since = 0
	f.pendingSize += n + FrameHead
	c.Queued += n + FrameHead
	c.Room -= n + FrameHead
	c.Spare -= n + FrameHead
	r.take(c.Path, n+FrameHead)
	f.sent += uint64(n)
	f.path.sent += uint64(n)
	f.path.share += float64(n)
	if fl != nil {
		fl.Used.Now |= 1 << f.slot
	}
}

// take takes n bytes of a path's leeway.
func (r *chooser) take(path, n int) {
	left := &r.leeway[path]
	was := *left
	if *left -= n; was <= 0 || *left > 0 {
		return
	}
	for i := range r.cands {
		if c := &r.cands[i]; c.Path == path {
			c.Open = false
		}
	}
}

// copies says how many copies a packet of n bytes of a small flow gets.
func (r *chooser) copies(f *fq.Flow, n int) int {
	switch p := r.e.table.mode.policy(); {
	case p.always:
		return 1
	case p.budgeted && f.Behaviour.Copied() && r.e.budget.Covers(n) && r.e.farEnough:
		return sched.MaxCopies
	}
	return 0
}

// list lists the subflows as the scheduler sees them, and reports whether there are any.
func (r *chooser) list(now int64) bool {
	r.cands, r.candSub, r.still = r.cands[:0], r.candSub[:0], 0
	if r.e.farEnough {
		r.e.countFlight()
	}
	r.views++
	lead := r.e.lead()
	for _, f := range r.e.subs {
		if f.state == Ended {
			continue
		}
		p := f.path
		if p.viewed != r.views { // once for all of its subflows
			p.viewed, p.view = r.views, p.candidate(now)
			gaugeThin(r.e, p, now)
			r.leeway[p.index] = p.leeway(lead)
			p.halted = r.e.farEnough && halts(p, &r.e.held.out, now)
		}
		c := p.view
		c.Stale = c.Stale || f.state != Moving
		c.Queued, c.Own = f.pendingSize, f.tx.outstanding+f.pendingSize
		c.Bulk, c.Backup = f.bulk && !p.idle, f.backup || f.pulse.slow
		c.Helps = !f.bulk && len(p.subs) <= bulkSubflows && !p.seen && !p.passage.thin && !p.idle
		if f.bulk && c.Own > RecordSize {
			c.Ahead = lowatTime
		}
		c.Ahead += p.ahead
		c.Open, c.Spare = c.Own < f.tx.cwnd && r.leeway[p.index] > 0, f.tx.cwnd-c.Own
		burst := min(max(f.lowat, MinLowat), BurstSize)
		if f.blocked {
			c.Queued += burst
		} else {
			c.Room = burst - f.pendingSize
		}
		if p.halted || r.e.farEnough && f.overdue(f.age(now)) {
			c.Suspect, c.Doubt = true, f.stallTime()
		}
		if p.halted || c.Stale && p.rtt > sched.CopyMinRTT { // nearer, it is the machine that stands still
			r.still |= 1 << len(r.cands)
		}
		r.cands = append(r.cands, c)
		r.candSub = append(r.candSub, f)
	}
	return len(r.cands) > 0
}
