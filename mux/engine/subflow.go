package engine

import (
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/dsn"
	"github.com/mpsocks/mpsocks/mux/sched"
)

// MaxSubflows is how many subflows a session can have: they are named by the bits of
// a word, of which arrived is the last.
const MaxSubflows = 63

// arrived marks a segment that some subflow has delivered to the peer's kernel.
const arrived = 1 << MaxSubflows

// A Subflow is what is known of one TCP connection of the session, and what it is to
// carry.
type Subflow struct {
	// Owner is its connection, for the session; the engine does not look at it.
	Owner any

	slot  int       // bit in the session's words
	id    int       // in a record,
	rec   *recorder // or nil
	path  *Path
	born  int64
	epoch uint64 // of the session's keys

	state       State
	staleAt     int64  // since when it is stale
	surrendered uint64 // of marks, what goes again since
	writing     bool   // somebody holds the write token
	blocked     bool   // the kernel is full: the token is with who waits for room
	backup      bool   // as the peer or the configuration last said
	bulk        bool   // carries bulk
	ccAsked     string
	ccAt        int64  // when that congestion control was asked for
	lowat       int    // bytes of unsent data that the kernel may hold
	measured    int64  // when it was last reported in full,
	asked       int64  // and when at all
	measuredTo  uint64 // TCP bytes made by then

	pending     []uint64 // segment numbers to write next
	pendingSize int
	gather      gathering
	control     []byte // whole options to write next
	marks       ring   // what the kernel has and the peer's kernel may not

	tx        stats
	sent      uint64 // mapped bytes
	heard     int64  // when something last came
	came      uint64 // TCP bytes that have
	progress  int64  // when the peer's kernel last acknowledged something new
	proof     int64  // when there was a sign of life last
	behindAt  int64  // when more was acknowledged behind a gap last
	acked     uint64 // TCP bytes that the peer's kernel acknowledged,
	passed    uint64 // and that its path has brought, as far as its passage has counted
	produced  uint64 // TCP bytes made
	counted   uint64 // of acked, what the path's rate has counted
	blockedAt int64  // since when blocked, or counted so
	bulkAt    int64  // when it last got bulk
	lastSend  int64
	restAt    int64  // since when it is Resting
	withdrawn bool   // the peer has its address no more, and has not answered by it since
	overslept bool   // it had no answer when it was to wake: this says nothing of the path
	replied   int64  // when the last probe was sent that has its answer
	probeSent int64  // time of the probe that waits for its answer, 0 = none,
	silence   int64  // and how long neither side had said anything before it
	probeEnd  uint64 // TCP bytes before it
	gauged    uint64 // when so many TCP bytes are acknowledged, the path has carried
	gaugedAt  int64  // what was written then; 0 = nothing is waited for
	pulse     pulse
}

// stats is what is known of a subflow's TCP connection.
type stats struct {
	srtt, rttvar, minRTT int64 // to the peer, ns
	cwnd                 int   // bytes
	rate                 float64
	outstanding          int    // bytes the peer's kernel has not acknowledged
	sacked               uint64 // bytes that arrived behind a gap
	retrans, segs        uint64
	valid                bool  // srtt is known
	kernel               bool  // the kernel tells
	near                 int64 // the round trip to whatever acknowledges, ns; 0 = to the peer
}

// An Outgoing is one packet of a batch: pinned, so it may be read without the
// session's lock until Wrote.
type Outgoing struct {
	P     *buf.Buffer
	DSN   uint64
	First bool // no batch has carried it before
	Full  bool // its DSN has to be sent in full, see dsn
	sn    uint64
}

// NewSubflow prepares one of the path, that has joined with the keys of that epoch.
func NewSubflow(owner any, p *Path, epoch uint64, now int64) *Subflow {
	return &Subflow{
		Owner: owner, path: p, born: now, epoch: epoch, heard: now, progress: now, proof: now, lastSend: now,
		backup: p.cfg.Backup, lowat: MinLowat,
	}
}

// Slot is the subflow's number in its session.
func (f *Subflow) Slot() int { return f.slot }

// Path is the path that it is on.
func (f *Subflow) Path() *Path { return f.path }

// State is how much it is alive.
func (f *Subflow) State() State { return f.state }

// Moves says that it is no doubtful one.
func (f *Subflow) Moves() bool { return f.state == Moving && f.path.state != PathDark }

// carried is how many bytes of TCP a subflow has carried both ways.
func (f *Subflow) carried() uint64 { return f.acked + f.came }

// Throttled says that its connection was slowed by itself, so that another one takes its place.
func (f *Subflow) Throttled() bool { return f.pulse.slow }

// Heard notes when something last came by it, and how many bytes of TCP have come in all.
func (f *Subflow) Heard(at int64, came uint64) {
	if f.rec != nil {
		f.rec.note(entry{Op: "heard", Now: at, Sub: f.id, N: []int64{int64(came)}})
	}
	f.heard, f.came = at, came
}

// SetBackup notes that the subflow is to be used only when nothing else is up, as the
// peer says (RFC 8684, Section 3.3.8).
func (f *Subflow) SetBackup(backup bool) {
	if f.rec != nil {
		f.rec.note(entry{Op: "backup", Sub: f.id, On: []bool{backup}})
	}
	f.backup = backup
}

// Control puts options in front of the next batch. The peer cannot make them pile up:
// beyond a bound they are dropped, as all of them are repeated or replaced later.
func (f *Subflow) Control(options []byte) {
	if f.rec != nil {
		f.rec.note(entry{Op: "control", Sub: f.id, Bytes: options})
	}
	if f.state != Ended && len(f.control) < controlMost {
		f.control = append(f.control, options...)
	}
}

// controlMost is how many bytes of options may wait.
const controlMost = 4096

// A sentMark says up to which TCP byte a segment is in the connection.
type sentMark struct {
	sn, end uint64
	at      int64
}

// A ring holds the sentMarks of what has no Data ACK yet; those before una are
// acknowledged by the peer's kernel, those behind it may be stalled.
type ring struct {
	marks           []sentMark // power of two long
	head, una, tail uint64
}

const (
	// marksKept is how many there may have been before their memory is given back.
	marksKept = 1024
	// markMemory is what one takes.
	markMemory = 24
)

// memory is how many bytes they take.
func (r *ring) memory() int { return len(r.marks) * markMemory }

func (r *ring) at(i uint64) *sentMark { return &r.marks[i&uint64(len(r.marks)-1)] }

func (r *ring) push(m sentMark) {
	if r.tail-r.head == uint64(len(r.marks)) {
		old := *r
		r.marks = make([]sentMark, max(64, 2*len(old.marks)))
		for i := old.head; i < old.tail; i++ {
			*r.at(i) = *old.at(i)
		}
	}
	*r.at(r.tail) = m
	r.tail++
}

// age returns how long the oldest bytes that the peer's kernel has not acknowledged
// have been out.
func (f *Subflow) age(now int64) int64 {
	if f.marks.una == f.marks.tail {
		return 0
	}
	return now - f.marks.at(f.marks.una).at
}

// acknowledge notes that the peer's kernel has the first acked TCP bytes, and drops
// the marks of what has a Data ACK.
func (f *Subflow) acknowledge(q *dsn.InFlight, now int64, acked uint64) {
	if acked > f.acked {
		f.acked = acked
		f.progress, f.proof = now, now
		notePassage(f.path, f, now, acked)
	}
	r := &f.marks
	for r.una < r.tail && r.at(r.una).end <= f.acked {
		if sg := q.Live(r.at(r.una).sn); sg != nil {
			sg.On |= arrived
		}
		r.una++
	}
	f.settle(q)
	if !f.tx.kernel {
		f.tx.outstanding = int(f.produced - min(f.acked, f.produced))
	}
}

// settle drops the marks of what has a Data ACK.
func (f *Subflow) settle(q *dsn.InFlight) {
	r := &f.marks
	for r.head < r.tail && q.Live(r.at(r.head).sn) == nil {
		r.head++
	}
	r.una = max(r.una, r.head) // no sign of life: another subflow may have brought it
	if r.head == r.tail && len(r.marks) > marksKept {
		r.marks = nil
	}
}

// unstick counts the time that it was blocked.
func (f *Subflow) unstick(now int64) {
	if f.bulk && f.blockedAt != 0 {
		f.path.stuck += now - f.blockedAt
	}
	f.blockedAt = now
}

// ping asks the peer for a sign of life.
func (f *Subflow) ping(now int64) {
	if f.state == Ended || f.probeSent != 0 {
		return
	}
	f.probeSent, f.silence = now, now-max(f.heard, f.lastSend)
	f.control = AppendProbe(f.control, probePing, uint64(now))
}

// ask is ping with the question about delay: the answer tells that as well.
func (f *Subflow) ask(e *Engine, now int64) {
	if f.state == Ended || f.probeSent != 0 {
		return
	}
	f.probeSent, f.silence = now, now-max(f.heard, f.lastSend)
	f.path.delay.Ask(now, e.octets)
	f.control = AppendProbe(f.control, probeDelay, uint64(now))
}

// probeTimeout is how long an answer may take: a path that was just in use is awake, as is
// one by which something has come since, or the answer of another one that was asked at the same moment.
// Where nothing comes by any path, all may be dead for a moment.
func (f *Subflow) probeTimeout(now int64) int64 {
	if f.path.quiet(now) && (f != f.path.quizzed || !f.path.patient) || f.state == Resting && f.path.heard > f.probeSent || f.path.throttle.frozen(f) {
		return quietTimeout
	}
	return probeTimeout
}

// stallTime is how long without progress makes the subflow stale.
func (f *Subflow) stallTime() int64 {
	t := &f.tx
	if !t.valid {
		return max(stallUnknown, 2*f.path.rtt)
	}
	return min(max(t.srtt+max(t.srtt, 4*t.rttvar), minStall)+f.hearsay(), max(maxStall, 2*t.minRTT+f.hearsay()))
}

// gaps says that something is missing, for so long, and what was sent later arrives.
func (f *Subflow) gaps(now, wait, limit int64) bool {
	return now-f.behindAt <= limit/2 && wait <= min(stallGap*limit, maxStall)
}

// overdue says that an acknowledgement should be here after that time.
func (f *Subflow) overdue(age int64) bool {
	return age > f.tx.srtt+2*f.tx.rttvar+5e6+f.hearsay()
}

// hearsay is how much later than the kernel this side knows of an acknowledgement: one
// question after the other tells, where the kernel does not.
func (f *Subflow) hearsay() int64 {
	if f.tx.kernel {
		return 0
	}
	return f.tx.srtt + measureEvery + TickBusy
}

// bulkMemory is how long a subflow counts as carrying bulk after it got some.
const bulkMemory = 1e9

func (f *Subflow) carriesBulk(now int64) bool { return f.bulkAt != 0 && now-f.bulkAt < bulkMemory }

// beyond returns the bytes that arrived behind a gap, as of the last report: a lost
// packet holds back the acknowledgement of a whole window.
func (f *Subflow) beyond() uint64 {
	if f.state == Ended || f.tx.outstanding == 0 {
		return 0
	}
	return f.tx.sacked
}

// sample feeds a round trip that the probe measured into the estimates, where
// the kernel does not tell (RFC 6298, Section 2).
func (f *Subflow) sample(rtt int64) {
	t := &f.tx
	if t.kernel || rtt <= 0 {
		return
	}
	t.cwnd = max(t.cwnd, sched.StartBytes, 2*t.outstanding)
	if !t.valid {
		t.srtt, t.rttvar, t.minRTT, t.valid = rtt, rtt/2, rtt, true
		return
	}
	d := t.srtt - rtt
	if d < 0 {
		d = -d
	}
	t.rttvar += (d - t.rttvar) / 4
	t.srtt += (rtt - t.srtt) / 8
	t.minRTT = min(t.minRTT, rtt)
}

// answered takes the answer to the question of that time.
func (f *Subflow) answered(q *dsn.InFlight, asked, now int64) {
	f.proof = now
	if f.probeSent == 0 || f.probeSent != asked {
		return
	}
	f.probeSent, f.replied, f.pulse.trip = 0, asked, now-asked
	f.state.on(answered)
	f.path.keeper.held(now, f.silence)
	if f.tx.kernel && !f.path.carriesBulk(now) { // which delays the answer by itself
		f.path.hidden.Add(now, now-asked-f.tx.near)
	}
	f.sample(now - asked)
	if !f.tx.kernel { // what was written before the question has arrived
		f.acknowledge(q, now, f.probeEnd)
	}
}

// shelve is stall without a word of it; it reports whether the subflow was in use.
func (f *Subflow) shelve(e *Engine, now int64, why event) bool {
	was := f.state.Stale()
	f.state.on(why)
	if was {
		return false
	}
	f.staleAt, f.surrendered = now, 0
	if e.surrender(f); f.epoch == e.epoch && e.held.waits() {
		f.path.strands(f, now)
	}
	return true
}

// Doubt takes a subflow out of use until the peer answers by it, which it is asked to at
// once: there is reason to believe that it is at its end. What it holds goes by others.
func (f *Subflow) Doubt(e *Engine, now int64) {
	if e.rec != nil {
		e.rec.note(entry{Op: "doubt", Now: now, Sub: f.id})
	}
	if f.state == Ended || e.closed {
		return
	}
	f.withdrawn = true
	f.shelve(e, now, missing)
	f.path.arrange() // a stall may last for a moment only, this is worse
	f.ping(now)
}
