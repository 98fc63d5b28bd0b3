package engine

import (
	"github.com/mpsocks/mpsocks/mux/dsn"
	"github.com/mpsocks/mpsocks/mux/gauge"
	"github.com/mpsocks/mpsocks/mux/sched"
)

// A PathConfig is what the engine has to know of a path.
type PathConfig struct {
	Name    string
	Backup  bool // only when no other path is up
	Metered bool // nothing but keep-alives unless needed or allowed
	Weight  int  // share of bulk; 0 = by rate
}

// A Path is a way between client and server as this side knows it.
type Path struct {
	id  int       // in a record,
	rec *recorder // or nil

	cfg    PathConfig
	index  int   // its bit in the scheduler's words
	addrID uint8 // the client's address ID of RFC 8684
	state  PathState
	subs   []*Subflow

	rate   float64 // bytes a nanosecond that it carries
	seen   bool    // rate was seen while it was full; else a guess
	proven float64 // delivered lately
	rtt    int64   // least round trip of its subflows, ns
	extra  int64   // one-way queue beyond what our own bytes explain, ns
	flight int     // bytes of ours in it, see countFlight
	view   sched.Candidate
	viewed uint64 // the last listing that view was made for

	keeper keeper
	used   stir // whether it lately carried much
	woken  bool // all its subflows are to be fit for use

	pacer   gauge.Pacer
	delay   gauge.Delay
	hidden  gauge.Hidden
	judge   gauge.LossJudge
	lossAt  int64 // when it last lost something
	bulkAt  int64 // when it last carried bulk,
	ordered int64 // and was last given what wants order

	segs    uint64  // sent on its subflows since ackedT
	resent  uint64  // of these, retransmitted
	paced   float64 // how fast it may be sent to, small flows included,
	beside  float64 // what these took lately,
	given   float64 // what bulk was told,
	sharers int     // and how many had it among them
	ackedT  int64   // when it was last measured
	late    int64   // how long the acknowledgements were under way then
	full    bool    // blocked for much of the last measurement
	busy    int     // bulk subflows that carry something,
	srtt    int64   // and the longest of their round trips, ns,
	least   int64   // and the shortest
	steered int     // answers about delay that the pace has seen
	stuck   int64   // how long bulk subflows were blocked since ackedT, ns

	sent    uint64  // mapped bytes
	share   float64 // of these, the late ones: fades over shareMemory
	heard   int64   // when something came by it last,
	doubted int64   // and since when only a sign of the peer itself counts; 0 = all do

	quizzed   *Subflow // that was asked as the path was quiet, nil = that is over,
	quizzedAt int64    // when, ns,
	quizTaken int64    // and since when a kernel has the question, 0 = not yet;
	patient   bool     // nothing came by any other path either

	proof, stalled int64 // last sign of life and last stall of its subflows, ns

	throttle throttle
	passage  passage
	idle     bool  // too thin to carry any of what is large, beside another; as last listed,
	halted   bool  // see halts; as last listed,
	filled   bool  // thin, and what is under way there is a queue already,
	ahead    int64 // that takes so long to leave, ns

	waits   int64 // when the oldest was sent that a stalled or ended subflow held, until all of it went again; 0 = nothing
	moved   int64 // how long that took the last time, ns,
	movedAt int64 // when it was done,
	toldAt  int64 // and the last time of it that was told

	received uint64 // mapped bytes of subflows that have ended
	octets   uint64 // and their TCP bytes, both ways
}

// Name is the path's name.
func (p *Path) Name() string { return p.cfg.Name }

// Rename gives it another name, of which nothing depends.
func (p *Path) Rename(name string) {
	if p.rec != nil {
		p.rec.note(entry{Op: "rename", Path: p.id, Text: name})
	}
	p.cfg.Name = name
}

// AddrID is the client's address ID of the path (RFC 8684, Section 3.2).
func (p *Path) AddrID() uint8 { return p.addrID }

// State is how much the path may be used.
func (p *Path) State() PathState { return p.state }

// lateRead is how long, in ns, what has come may wait to be read on a busy machine, at most.
const lateRead = 200e6

// Narrow says that the path seems to lose large packets alone: one of its subflows has stalled
// with something under way, and another has answered what was asked since, or brought something
// that cannot have come before.
func (p *Path) Narrow() bool {
	replied := int64(0)
	for _, f := range p.subs {
		replied = max(replied, f.replied)
	}
	for _, f := range p.subs {
		if f.state.Stale() && f.tx.outstanding > 0 && (replied >= f.staleAt || p.heard > f.staleAt+lateRead) {
			return true
		}
	}
	return false
}

// HeardAt is when something last came by the path.
func (p *Path) HeardAt() int64 { return p.heard }

// Moved is how long what the path held had to wait until it went by others, the last
// time that a subflow stalled or ended, and when that was; both in ns, and 0 before.
func (p *Path) Moved() (took, at int64) { return p.moved, p.movedAt }

// strands notes that what a subflow holds is to go by others.
func (p *Path) strands(f *Subflow, now int64) {
	if age := f.age(now); age > 0 && (p.waits == 0 || now-age < p.waits) {
		p.waits = now - age
	}
}

// Octets is how many TCP bytes its subflows had carried that have ended, both ways.
func (p *Path) Octets() uint64 { return p.octets }

// Subflows are the path's subflows. The slice is the engine's.
func (p *Path) Subflows() []*Subflow { return p.subs }

// Rests says that the peer shall send by the path only when it has no other.
func (p *Path) Rests() bool { return p.cfg.Backup || p.cfg.Metered }

// SetCapped says whether the path is over its byte cap, so that it carries nothing.
func (p *Path) SetCapped(over bool) {
	if p.rec != nil {
		p.rec.note(entry{Op: "capped", Path: p.id, On: []bool{over}})
	}
	p.state.capped(over)
}

// Configure changes what may change, and reports whether the peer is to be told of
// another priority.
func (p *Path) Configure(c PathConfig) (tell bool) {
	if p.rec != nil {
		p.rec.note(entry{Op: "configure", Path: p.id, Config: &c})
	}
	was := p.Rests()
	p.cfg = c
	for _, f := range p.subs {
		f.backup = c.Backup
	}
	return p.Rests() != was
}

// quiet says that nothing comes by the path any more, though it lately did.
func (p *Path) quiet(now int64) bool {
	return p.heard != 0 && now-p.heard > quietAfter && now-p.heard < quietAfter+quietWatch
}

// carriesBulk says that the path lately carried bulk.
func (p *Path) carriesBulk(now int64) bool { return p.bulkAt != 0 && now-p.bulkAt < bulkRecent }

// works says that the path carries bulk, or lately did, or has just been given some: it
// is to be measured closely.
func (p *Path) works(now int64) bool {
	if p.carriesBulk(now) || p.stuck > 0 {
		return true
	}
	for _, f := range p.subs {
		if f.carriesBulk(now) {
			return true
		}
	}
	return false
}

// fade forgets what the path was given.
func (p *Path) fade(passed int64) { p.share *= 1 - min(float64(passed)/shareMemory, 1) }

// arrange chooses which of the path's subflows carry bulk: the first that are not to be
// replaced, behind them those that rest, and behind these those that are throttled or of an
// address that the peer has no more; the rest stay thin, for small flows.
func (p *Path) arrange() {
	n, most := 0, max(min(bulkSubflows, len(p.subs)-1), 1)
	if p.passage.thin {
		most = 1
	}
	for _, f := range p.subs {
		if f.bulk = !f.state.Replaced() && f.state != Resting && !f.withdrawn && !f.pulse.slows() && n < most; f.bulk {
			n++
		}
	}
	for _, last := range []func(*Subflow) bool{
		func(f *Subflow) bool { return f.state == Resting },
		func(f *Subflow) bool {
			return (f.withdrawn || f.pulse.slows()) && !f.state.Replaced() && f.state != Ended
		},
	} {
		for _, f := range p.subs {
			if !f.bulk && n < most && last(f) {
				f.bulk = true
				n++
			}
		}
	}
}

// bulkSubflows is how many subflows of a path carry bulk; one that is not alone stays thin,
// for small flows and for the questions about delay, which bulk would hold up.
const bulkSubflows = 2

// spare says that a path is to rest while another one is up: the client knows by its
// configuration, the server by what it was told (RFC 8684, Section 3.3.8).
func (p *Path) spare() bool {
	return p.Rests() || len(p.subs) > 0 && p.subs[0].backup
}

// awake says that all subflows of the path are to be fit for use.
func (p *Path) awake(e *Engine, now int64) bool {
	return p.used.lately(now) || !p.spare() && p.state != PathFull && e.stirred.lately(now)
}

// warm is the subflow of a path that is asked while it rests: that by which something
// came last. It is nil while none moves.
func (p *Path) warm() (warm *Subflow) {
	for _, f := range p.subs {
		if f.state == Moving && (warm == nil || f.heard > warm.heard) {
			warm = f
		}
	}
	return warm
}

// trust is how long a subflow that nobody asks on is surely there.
func (p *Path) trust(client bool) int64 {
	if client {
		return p.keeper.every()
	}
	return keepSteps[keepSafe]
}

// joined notes a new subflow. Those of the path from which nothing came for long are asked:
// it may be there in the place of one that this side has not missed yet.
func (p *Path) joined(f *Subflow) {
	p.keeper.joined(f.born)
	for _, g := range p.subs {
		if g != f && f.born-g.heard > keepSteps[keepSafe] {
			g.ping(f.born)
		}
	}
}

// KeepAlive is how long the path may be silent at rest, in ns, as far as is known.
func (p *Path) KeepAlive() int64 { return p.keeper.every() }

// SetKeepAlive takes what was known of a path before: no more than is safe to begin with
// where it is none of the steps.
func (p *Path) SetKeepAlive(ns int64) {
	if p.rec != nil {
		p.rec.note(entry{Op: "keep", Path: p.id, N: []int64{ns}})
	}
	for i, s := range keepSteps {
		if s == ns {
			p.keeper.step = i
		}
	}
}

// halts says of a path that an acknowledgement is overdue and that since it was due there has been no sign of life of
// any subflow: all of the path stands still, be it for a moment. Those with nothing under way would find that
// out one after the other, by what they are given. It drops the marks of what has a Data ACK.
func halts(p *Path, q *dsn.InFlight, now int64) bool {
	due, proof := int64(0), int64(0)
	for _, f := range p.subs {
		f.settle(q)
		proof = max(proof, f.proof)
		if late := f.age(now); f.state == Moving && f.overdue(late) && late > f.tx.srtt*5/4 { // a queue grows in a round trip
			due = max(due, f.marks.at(f.marks.una).at+f.tx.srtt)
		}
	}
	return due > proof
}
