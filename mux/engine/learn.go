package engine

import (
	"encoding/binary"

	"github.com/mpsocks/mpsocks/mux/dsn"
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/sched"
)

// What has been learnt: Data ACKs, what carriers report, answers to probes, and how a
// write went.

const (
	// askAfter is when bytes without a Data ACK make the session ask the kernel for
	// its own; measureEvery is how often all that is known of the connection is read
	// while its path carries bulk, and measureStart while what is under way fills the
	// window and TCP may enlarge it. Small flows change little in measureSmall, and
	// what has carried nothing since in measureRest. Both calls lock the socket.
	askAfter     = 8e6
	measureEvery = 20e6
	measureStart = 4e6
	measureSmall = 100e6
	measureRest  = 1e9
	// askBytes is how much may have been written since the kernel was asked before
	// what is under way may matter to a choice.
	askBytes = 4 << 10
	// askSlack is when, beyond a round trip and its variance, an acknowledgement is
	// late enough to ask for: before the subflow is suspected.
	askSlack = 3e6
	// flightFresh is how old the count of bytes in a path may be for a decision.
	flightFresh = 1e6
	// askMany is as much as a path has under way that carries no small flow.
	askMany = 12 << 10
	// flightPart is the part of a round trip that the count may be old while a path
	// carries small flows only: at 500 datagrams a second two questions of three are saved.
	flightPart = 4
)

// A Report is what the carrier of a subflow knows of its connection.
type Report struct {
	Written     uint64 // TCP bytes that were given to the kernel, read first
	Outstanding int    // of these, what the peer's kernel has not acknowledged; -1 = not known
	Full        bool   // Info was asked for,
	Known       bool   // and is known,
	Partial     bool   // of it only Retrans and Segs
	Info        Info
}

// Info is what the engine uses of TCP_INFO.
type Info struct {
	SRTT, RTTVar, MinRTT int64  // ns
	CWND                 int    // bytes
	Rate                 uint64 // of delivery, bytes a second
	Retrans, Segs        uint64 // data segments that went again, and all
	Sacked               uint64 // bytes beyond a gap
}

// An Ask is a subflow whose carrier is to report, with all that it knows or only how
// much is outstanding.
type Ask struct {
	Sub  *Subflow
	Full bool
}

// Glance appends the subflows whose count of outstanding bytes is too old for the next
// decision: each is asked at most once a millisecond, and only if the answer may change
// something.
func (e *Engine) Glance(now int64, asks []Ask) []Ask {
	before := len(asks)
	if !e.farEnough || !e.held.waits() && e.table.queue.Idle() {
		return asks
	}
	waits := !e.table.queue.Bands[fq.ClassOrdered].Empty()
	for _, f := range e.subs {
		if f.state == Moving && f.marks.una != f.marks.tail && f.tx.minRTT > sched.CopyMinRTT && f.doubtful(&e.held.out, now, waits) {
			f.asked = now
			asks = append(asks, Ask{Sub: f})
		}
	}
	if e.rec != nil && len(asks) > before {
		e.rec.note(entry{Op: "glance", Now: now})
		e.rec.asks(asks[before:])
	}
	return asks
}

// doubtful says that what is known of the bytes under way may be wrong by enough to
// matter: there may be many, or an acknowledgement is about to be late. What small flows
// have under way is far from what fits; it is told late by a part of a round trip, and not
// at all while Data ACKs tell that it is little. Copies, whose Data ACKs come by other paths,
// may fill one before a flow that wants order, which waits, knows what it carries.
func (f *Subflow) doubtful(q *dsn.InFlight, now int64, waits bool) bool {
	fresh := now - f.asked
	if fresh <= flightFresh {
		return false
	}
	if f.tx.outstanding > askMany || f.tx.outstanding > askBytes && (waits || f.path.works(now)) {
		return true
	}
	m := f.oldest(q)
	if m == nil {
		return false
	}
	many := f.tx.outstanding > askBytes && f.produced-m.end > askBytes && fresh > f.tx.srtt/flightPart
	return many || now-m.at > f.tx.srtt+f.tx.rttvar+askSlack
}

// oldest returns the mark of the oldest segment that neither the peer's kernel nor a Data ACK has
// acknowledged, or nil.
func (f *Subflow) oldest(q *dsn.InFlight) *sentMark {
	r := &f.marks
	for i := r.una; i < r.tail; i++ {
		if m := r.at(i); q.Live(m.sn) != nil {
			return m
		}
	}
	return nil
}

// measureAfter is how long a full report of the subflow stays good.
func (f *Subflow) measureAfter(now int64) int64 {
	switch {
	case !f.tx.valid:
		return 0
	case f.path.works(now) || f.state.Stale() || !f.tx.kernel:
		if !f.path.seen && f.tx.outstanding > f.tx.cwnd/2 {
			return measureStart
		}
		return measureEvery
	case f.produced == f.measuredTo && f.marks.una == f.marks.tail && f.heard < f.measured:
		return measureRest
	}
	return measureSmall
}

// Due appends the subflows whose carriers are to report before the next Tick.
func (e *Engine) Due(now int64, asks []Ask) []Ask {
	if e.rec != nil {
		e.rec.note(entry{Op: "due", Now: now})
	}
	before := len(asks)
	for _, f := range e.subs {
		if f.state == Ended || f.sleeps(now) {
			continue
		}
		// Data ACKs come with every packet of a busy session: the kernel is asked
		// only when they are late.
		f.acknowledge(&e.held.out, now, f.acked)
		full := now-f.measured >= f.measureAfter(now) || f.path.works(now) && now-f.path.ackedT >= f.path.window(now)
		if full || f.age(now) > askAfter || f == f.path.quizzed && now-f.asked > measureEvery {
			f.asked = now
			asks = append(asks, Ask{f, full})
		}
	}
	if e.rec != nil {
		e.rec.asks(asks[before:])
	}
	return asks
}

// Learn takes what the carrier of a subflow reports.
func (e *Engine) Learn(f *Subflow, now int64, r *Report) {
	if e.rec != nil {
		e.rec.note(entry{Op: "learn", Now: now, Sub: f.id, Report: r})
	}
	if f.state == Ended {
		return
	}
	t, acked := &f.tx, f.acked
	if r.Outstanding >= 0 {
		t.outstanding = r.Outstanding
		acked = left(r.Written, r.Outstanding)
	}
	f.acknowledge(&e.held.out, now, acked)
	if !r.Full {
		return
	}
	f.measured, f.measuredTo = now, f.produced
	if !r.Known || r.Partial { // the peer has to tell
		if f.probeSent == 0 && (!t.valid || f.marks.una < f.marks.tail) {
			f.ping(now)
		}
		if !r.Known {
			return
		}
	}
	i := &r.Info
	f.path.segs += i.Segs - t.segs
	f.path.resent += i.Retrans - t.retrans
	if i.Retrans > t.retrans {
		f.path.lossAt, e.lossAt = now, now
	}
	t.segs = i.Segs
	if r.Partial { // the round trip comes with the peer's answer
		t.retrans = i.Retrans
		return
	}
	t.kernel, t.valid = true, i.SRTT > 0
	behind := f.path.hidden.Least() // the peer's kernel need not be what answers
	t.near = i.SRTT
	t.srtt, t.rttvar, t.minRTT = i.SRTT+behind, i.RTTVar, i.MinRTT+behind
	if i.Sacked > t.sacked {
		f.behindAt, f.proof = now, now
	}
	t.cwnd, t.retrans, t.sacked = i.CWND, i.Retrans, i.Sacked
	if got := f.acked + f.beyond(); got > f.passed {
		notePassage(f.path, f, now, got)
	}
	t.rate = float64(i.Rate) / 1e9
}

// left returns how much of what was written is no longer outstanding. A write
// that is under way is outstanding before it is counted.
func left(written uint64, outstanding int) uint64 {
	return written - min(uint64(outstanding), written)
}

// Acked applies a Data ACK (RFC 8684, Section 3.3.2) that came on a subflow, and
// reports whether it was news.
func (e *Engine) Acked(f *Subflow, ack uint64) bool {
	ok := f.epoch == e.epoch && e.held.out.Ack(ack)
	if e.rec != nil {
		e.rec.note(entry{Op: "acked", Sub: f.id, N: []int64{int64(ack)}, On: []bool{ok}})
	}
	return ok
}

// Probe answers or takes a probe that came by a subflow. It reports whether there is
// something to send now.
func (e *Engine) Probe(f *Subflow, x *mptcp.Experimental, now int64) (send bool) {
	if e.rec != nil {
		e.rec.probe(f, x, now)
	}
	b := x.Payload()
	stamp := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
	switch {
	case x.Type == probePing && len(b) == 8:
		f.Control(AppendProbe(nil, probePong, uint64(stamp(0))))
		return true
	case x.Type == probeDelay && len(b) == 8:
		f.Control(AppendProbe(nil, probeDelayR, uint64(stamp(0)), uint64(now)))
		return true
	case x.Type == probePong && len(b) == 8:
		f.answered(&e.held.out, stamp(0), now)
	case x.Type == probeDelayR && len(b) == 16:
		p := f.path
		f.answered(&e.held.out, stamp(0), now)
		p.delay.Answered(stamp(0))
		p.delay.Took(stamp(0), now, stamp(1)-stamp(0), now-stamp(1))
		if !p.carriesBulk(now) {
			p.extra = p.delay.Beside(now)
		}
	}
	return false // or not ours to understand
}

// Next returns a subflow that has something to write and no writer, or nil. Its write
// token is the caller's then, who takes the batch and the options in front of it.
func (e *Engine) Next() *Subflow {
	for _, f := range e.subs {
		if !f.writing && f.state != Ended && (len(f.control) > 0 || len(f.pending) > 0 && !f.gather.wait()) {
			f.writing = true
			if e.rec != nil {
				e.rec.note(entry{Op: "next", Sub: f.id})
			}
			return f
		}
	}
	if e.rec != nil {
		e.rec.note(entry{Op: "next"})
	}
	return nil
}

// Take appends the next batch of a subflow, and returns the options to write before it.
func (e *Engine) Take(f *Subflow, batch []Outgoing) (_ []Outgoing, control []byte) {
	if e.rec != nil {
		e.rec.note(entry{Op: "take", Sub: f.id})
	}
	before, full := len(batch), e.held.out.Wraps()
	for _, sn := range f.pending {
		sg := e.held.out.At(sn)
		if e.held.out.Live(sn) == nil { // it waited, and another was faster
			e.held.out.Unpin(sn)
			continue
		}
		batch = append(batch, Outgoing{P: sg.P, DSN: sg.DSN, First: !sg.Seen, Full: full, sn: sn})
		sg.Seen = true
	}
	f.pending, f.pendingSize, f.gather.since = f.pending[:0], 0, 0
	control, f.control = f.control, nil
	if e.rec != nil {
		e.rec.batch(batch[before:], control)
	}
	return batch, control
}

// Wrote does the books of a batch and takes the write token back, or leaves it with who
// waits for room. end is how many TCP bytes of the subflow have been made, blocked that
// the kernel did not take all, failed that the connection is at its end.
func (e *Engine) Wrote(f *Subflow, now int64, batch []Outgoing, end uint64, blocked, failed bool) {
	if e.rec != nil {
		e.rec.note(entry{Op: "wrote", Now: now, Sub: f.id, N: []int64{int64(len(batch)), int64(end)}, On: []bool{blocked, failed}})
	}
	if f.probeSent > f.lastSend { // options go first
		f.probeEnd = f.produced
	}
	if made := int(end - f.produced); made > 0 {
		f.tx.outstanding += made
		f.lastSend = now
	}
	f.produced = end
	if f.gaugedAt == 0 && len(batch) > 0 {
		f.gauged, f.gaugedAt = end, now
	}
	if f.marks.una == f.marks.tail && len(batch) > 0 && f.state == Moving {
		f.progress = now // the clock of a stall starts with the first byte out
	}
	redo := len(e.held.redo)
	for i := range batch {
		o := &batch[i]
		o.P = nil
		if f.epoch != e.epoch {
			continue // the session was renewed: the numbers mean nothing now
		}
		if f.state == Ended {
			e.held.out.At(o.sn).On &^= 1 << f.slot
			e.held.queue(o.sn)
		} else {
			f.marks.push(sentMark{sn: o.sn, end: end, at: now})
		}
		e.held.out.Unpin(o.sn)
	}
	e.held.order(redo)
	if failed {
		f.state.on(ended)
	}
	if f.blocked = blocked; blocked {
		f.blockedAt = now
		return
	}
	f.writing = false
}

// Drained takes the write token back from who waited for room.
func (e *Engine) Drained(f *Subflow, now int64, failed bool) {
	if e.rec != nil {
		e.rec.note(entry{Op: "drained", Now: now, Sub: f.id, On: []bool{failed}})
	}
	f.blocked, f.writing = false, false
	f.unstick(now)
	if failed {
		f.state.on(ended)
	}
}
