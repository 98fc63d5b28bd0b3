package engine

import (
	"slices"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/sched"
)

const (
	// FrameHead is the length of the DSS in front of a packet, at most: that of a session so
	// fast that its sequence numbers are sent in full.
	FrameHead = 26
	// RecordSize is the largest TLS plaintext record (RFC 8446, Section 5.1).
	RecordSize = 16384
	// SegmentSize makes a stream segment fill one record.
	SegmentSize = RecordSize - FrameHead
	// BurstSize is what a subflow is given at once at most, for one kernel write: as much as a
	// reader takes. It is bound by lowatTime, too.
	BurstSize = 16 * RecordSize
	// MaxPaths leaves every path some of the subflows.
	MaxPaths = 16
	// streamPause is after how long without a packet, in ns, a stream begins anew: shorter
	// ones are those of the program that writes to it.
	streamPause = 100e6
	// maxPacket is what a mapping can hold (RFC 8684, Section 3.3.1).
	maxPacket = 65535
)

// An Engine is the data level of one session. See the package.
type Engine struct {
	table table
	held  held
	roster
	choose chooser
	closed bool
	ending bool   // by this side: nothing is taken any more
	fin    uint64 // the DSN of our DATA_FIN; else 0. Behind it nothing gets one

	epoch    uint64 // grows with every set of keys, and when they are forgotten
	renewals uint64 // how often they were
	timeout  int64  // without a subflow, ns
	lastUp   int64  // when the last subflow went
	heard    int64  // when something last came, by any path
	swept    int64
	grace    grace

	renewedAt int64 // when a connection was last made anew, see throttles

	lossy     bool   // something was lately lost,
	lossAt    int64  // and when
	farEnough bool   // some path is long enough for copies to pay
	holdBound int64  // resequencing deadline, ns
	disowned  uint64 // subflows whose acknowledgements count for nothing, until the Tick regains what they have

	stirred    stir   // whether the session lately had much to carry,
	poured     stir   // and whether much came
	octets     uint64 // committed
	octetsSeen uint64 // of these, when Tick last looked
	activeAt   int64  // when it last saw some more
	calm       bool   // the next Tick is not due soon,
	gaveBulk   bool   // and bulk was given to a subflow since the last one
	copied     uint64
	budget     sched.Budget

	orders Orders
}

// New makes one. client says that rules are about the destination, not the source;
// timeout is how long, in ns, the session waits without a subflow.
func New(client bool, mode Mode, rules []Rule, timeout int64) *Engine {
	e := &Engine{timeout: timeout, holdBound: 20e6}
	e.choose.e = e
	e.table = table{client: client, mode: mode, rules: rules, flows: make(map[packet.Key]*fq.Flow), ends: make(map[packet.End]int)}
	e.table.queue.Target = fq.CoDelTarget
	return e
}

// SetPolicy changes what New was told, for flows that are under way as well.
func (e *Engine) SetPolicy(mode Mode, rules []Rule, timeout int64) {
	if e.rec != nil {
		e.rec.note(entry{Op: "policy", N: []int64{int64(mode), timeout}, Rules: rules})
	}
	e.timeout = timeout
	e.table.setPolicy(mode, rules)
}

// Establish begins a data sequence space with its first DSN (RFC 8684, Section 3.3).
// There is no subflow yet.
func (e *Engine) Establish(first uint64) (epoch uint64) {
	if e.rec != nil {
		e.rec.note(entry{Op: "establish", N: []int64{int64(first)}})
	}
	e.epoch++
	e.ending, e.fin = false, 0
	e.held.out.Reset(first)
	e.held.forget(e.paths)
	return e.epoch
}

// Epoch counts the sets of keys, and how often they were forgotten.
func (e *Engine) Epoch() uint64 { return e.epoch }

// Renew ends all subflows: the peer has forgotten the session of that epoch. It reports
// whether that was news.
func (e *Engine) Renew(epoch uint64) bool {
	if e.rec != nil {
		e.rec.note(entry{Op: "renew", N: []int64{int64(epoch)}})
	}
	if e.closed || e.epoch != epoch {
		return false
	}
	e.epoch++
	e.ending, e.fin = false, 0
	e.renewals++
	e.held.forget(e.paths)
	for _, f := range e.subs {
		f.state.on(ended)
	}
	return true
}

// Close drops what waits; nothing is taken any more. What has no Data ACK is given back
// with the last subflow.
func (e *Engine) Close() {
	if e.rec != nil {
		e.rec.note(entry{Op: "close"})
	}
	e.closed = true
	e.drop()
	forget(e)
}

// forget gives back what a session that was closed holds, when nothing reads it any more
// but writers with a batch in their hands, whose numbers mean nothing then.
func forget(e *Engine) {
	if !e.closed || len(e.subs) > 0 {
		return
	}
	e.epoch++
	e.held.out.Reset(0)
	e.held.redo, e.held.bound = nil, nil
}

// Finish begins the end in order (RFC 8684, Section 3.3.3): what waits is dropped,
// nothing is taken any more.
func (e *Engine) Finish() {
	if e.rec != nil {
		e.rec.note(entry{Op: "finish"})
	}
	e.ending = true
	e.drop()
}

// Finishing reports whether our DATA_FIN has its DSN.
func (e *Engine) Finishing() bool { return e.fin != 0 }

func (e *Engine) drop() {
	for _, f := range e.table.flows {
		e.table.queue.Clear(f, fq.DropRenewed)
	}
}

// FIN returns the DSN of our DATA_FIN, behind all that was sent.
func (e *Engine) FIN() uint64 {
	if e.rec != nil {
		e.rec.note(entry{Op: "fin"})
	}
	if e.fin == 0 {
		e.fin = e.held.out.Fin()
	}
	if e.rec != nil {
		e.rec.answer(int64(e.fin))
	}
	return e.fin
}

// Clear reports whether all that was sent has its Data ACK.
func (e *Engine) Clear() bool { return e.held.out.Head == e.held.out.Tail }

// Idle reports whether the session has lost all its subflows, or never had one in so
// long a time, in ns.
func (e *Engine) Idle(now, long int64) bool {
	return len(e.subs) == 0 && (e.lastUp > 0 || now > long)
}

// Send puts a packet of a source into the queue and owns it. What the queue cannot
// hold is dropped there.
func (e *Engine) Send(src *Source, p *buf.Buffer, now int64) {
	if e.rec != nil {
		e.rec.send(src, p, now)
	}
	b := p.Bytes()
	f := e.table.flowFor(src, b, now)
	if f == nil || e.closed || e.ending || len(b) > maxPacket {
		e.table.queue.Drops[fq.DropInvalid]++
		p.Release()
		return
	}
	var payload []byte
	if f.Packets < 16 {
		payload = packet.UDPPayload(b)
	}
	e.table.classify(f, len(b), payload, now)
	f.Packets++
	e.table.queue.Push(f, p, now)
}

// Wake puts a stream that has something to send on the queue, as the flow of that key.
func (e *Engine) Wake(k packet.Key, st fq.Puller, now int64) {
	if e.rec != nil {
		s := e.rec.stream(st)
		e.rec.note(entry{Op: "wake", Now: now, Key: &k, N: []int64{s.id}})
		st = s
	}
	if e.closed || e.ending {
		return
	}
	f := e.table.streamFlow(k, st, now)
	if f.Packets == 0 {
		e.stirred.at = now // something new begins, small as it may be yet
	}
	if f.Idle() && now-f.Active > streamPause {
		f.Since = now
	}
	f.Active = now
	e.table.queue.Activate(f)
}

// Attach adds a subflow; produced is how many TCP bytes the handshakes took. It reports
// whether there is room.
func (e *Engine) Attach(f *Subflow, produced uint64) bool {
	if e.rec != nil {
		e.rec.attach(f, produced)
	}
	slot := 0
	for e.slots&(1<<slot) != 0 {
		slot++
	}
	if slot >= MaxSubflows {
		return false
	}
	f.slot, f.produced = slot, produced
	e.slots |= 1 << slot
	e.subs = append(e.subs, f)
	f.path.subs = append(f.path.subs, f)
	f.path.joined(f)
	f.path.arrange()
	e.rescue()
	return true
}

// Detach removes a subflow that ended: whatever it still held is sent again on the
// others (RFC 8684, Section 3.3.6). received and octets are what it has carried, of
// packets that came and of TCP in both directions.
func (e *Engine) Detach(f *Subflow, now int64, received, octets uint64) {
	if e.rec != nil {
		e.rec.note(entry{Op: "detach", Now: now, Sub: f.id, N: []int64{int64(received), int64(octets)}})
	}
	if f.bulk && !f.state.Stale() { // the next one may find the path to be more
		f.path.passage.anew()
	}
	f.state.on(ended)
	f.unanswered()
	e.grace.begin(now)
	e.table.queue.Grace = true
	gone := func(g *Subflow) bool { return g == f }
	e.subs = slices.DeleteFunc(e.subs, gone)
	f.path.subs = slices.DeleteFunc(f.path.subs, gone)
	e.slots &^= 1 << f.slot
	f.path.received += received
	f.path.octets += octets
	if f.epoch == e.epoch {
		if e.held.reclaim(f); e.held.waits() {
			f.path.strands(f, now)
		}
	}
	if len(e.subs) == 0 {
		e.lastUp = now
	}
	f.path.arrange()
	forget(e)
}

// Backlog is how many bytes wait in the queue.
func (e *Engine) Backlog() int { return e.table.queue.Bytes }

// Committed is how many bytes of packets have got a DSN.
func (e *Engine) Committed() uint64 { return e.octets }

// subflowMemory is what a subflow holds beside what it carries: TLS, its buffers of
// records and of frames that have not come whole.
const subflowMemory = 64 << 10

// flowMemory is what the record of a flow takes, with its place in the table: who makes
// many of them holds memory without a packet in it.
const flowMemory = 640

// wishMemory is the same for what is asked for a port.
const wishMemory = 192

// Charge returns how many bytes of memory the session holds, and sets how much of it
// may be packets without a Data ACK before no more leave the queue: 0 = no other bound
// than dsn's.
func (e *Engine) Charge(window int) (held int) {
	if e.rec != nil {
		e.rec.note(entry{Op: "charge", N: []int64{int64(window)}})
	}
	e.held.out.Most = window
	held = e.held.out.Held + e.held.out.List() + e.table.queue.Held + subflowMemory*len(e.subs) +
		flowMemory*len(e.table.flows) + wishMemory*len(e.table.wishes.at) + e.held.memory()
	for _, f := range e.subs {
		held += f.marks.memory()
	}
	if e.rec != nil {
		e.rec.answer(int64(held))
	}
	return held
}
