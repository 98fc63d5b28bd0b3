package mux

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/lull"
)

// ackDelay is how long received bytes may stay without a Data ACK; data in the other
// direction carries it at once.
const ackDelay = 25e6 // ns

// A monitor is a session's only timer. It ticks while something is under way, as closely
// as the engine wants it, and sleeps otherwise: for engine.TickIdle while there are
// streams or something to announce, and else for as long as the engine has nothing due.
// It measures, finds stalls, sends what has become due, and pumps. Readers that are awake tick
// in the stead of its goroutine: see pass.
type monitor struct {
	s       *Session
	alarm   *lull.Alarm // what its goroutine waits for
	ticking atomic.Bool
	calm    atomic.Bool // it does not look soon
	ticks   atomic.Uint64
	due     atomic.Int64 // when the next tick is
	passed  atomic.Int64 // when a reader last came by

	turn      sync.Mutex // held for a tick; guards the rest
	last      int64      // when it last ticked
	still     int64      // for how long all subflows were stale, of the session's time, ns
	saidMoved time.Time  // when a person was last told that flows moved; of obey
	absences  absences   // of what was told so; of tick and obey
	held      int        // bytes that the session holds,
	window    int        // and of these without a Data ACK at most; 0 = no matter
	cut       bool       // it ends for what it holds, which is done beside
}

// touch makes the monitor tick. The monitor itself must not call it: it would
// never sleep.
func (m *monitor) touch() {
	if !m.ticking.Load() && !m.ticking.Swap(true) {
		m.hurry()
	}
}

// hurry makes it tick now.
func (m *monitor) hurry() { m.alarm.Ring() }

// run is the monitor goroutine: started by the session's owner, ends with the
// session or the context.
func (m *monitor) run(ctx context.Context) {
	s := m.s
	defer m.alarm.Close()
	defer context.AfterFunc(ctx, m.hurry)()
	next := int64(engine.TickIdle)
	for {
		hurried := m.alarm.Wait(time.Duration(next))
		select {
		case <-ctx.Done():
			return
		case <-s.end.done:
			return
		default:
		}
		next = m.step(hurried)
	}
}

// step ticks, unless a reader has in its stead, and returns when to do so again, in ns.
func (m *monitor) step(hurried bool) (next int64) {
	if m.s.reseq.holds() { // what has waited too long is delivered
		defer m.s.hands.Take().Give()
	}
	m.turn.Lock()
	defer m.turn.Unlock()
	now := m.s.core.now()
	if early := m.due.Load() - now; early > 0 && !hurried {
		return early
	}
	return m.beat(now)
}

// beat is one tick. The caller holds turn.
func (m *monitor) beat(now int64) (next int64) {
	m.ticks.Add(1)
	next = m.tick(now, now-m.last) // the session's time begins with it
	m.last = now
	m.due.Store(now + next)
	return next
}

// passGap is how far apart, in ns, readers come by that tick while bulk is under way: where
// they are awake all the time the goroutine needs no thread more, and they have other work.
const passGap = 200e3

// pass ticks for a reader that has done its work, if the next one that comes by, as soon as
// this one did, would be too late: it is awake anyway, and the goroutine's thread would have
// to be woken.
func (m *monitor) pass(now int64) {
	gap := now - m.passed.Swap(now)
	if now+gap < m.due.Load() || gap < passGap && !m.calm.Load() || !m.alarm.Kernels() || !m.turn.TryLock() {
		return
	}
	defer m.turn.Unlock()
	if now-m.last >= engine.TickBusy/2 {
		m.alarm.Put(time.Duration(m.beat(now)))
	}
}

// tick does what is due and returns when to do so again, in ns. The caller holds turn.
func (m *monitor) tick(now, passed int64) (next int64) {
	s := m.s
	m.learn(now)
	var o *engine.Orders // the monitor's until the next Tick
	over := false
	var tales []tale
	var epoch uint64
	waits := s.reseq.memory() + s.space.memory()
	s.enter(func(e *engine.Engine, _ int64) {
		if over = s.end.begun; over {
			return
		}
		beside, trip, span := waits, int64(math.MaxInt64), int64(0)
		for _, f := range e.Subflows() {
			c := connOf(f)
			_, came := c.carrier.Carried()
			f.Heard(c.lastRecv.Load(), came)
			beside += c.carrier.Held() + int(c.scratch.Load())
			if f.Moves() {
				trip, span = min(trip, c.nearest.Load()), max(span, c.nearest.Load())
			}
		}
		s.streams.SetSpan(min(span, spanMost))
		s.far.Store(len(e.Subflows()) > 0 && lull.Far(trip))
		o, epoch = e.Tick(now, passed, s.space.total.Load()), e.Epoch()
		if !slices.ContainsFunc(e.Subflows(), func(f *engine.Subflow) bool { return !f.State().Stale() && f.State() != engine.Ended }) {
			m.still += passed
		}
		m.held = e.Charge(m.window) + beside
		tales = m.absences.due(e, now)
	})
	switch {
	case over:
		return engine.TickIdle
	case m.overdrawn():
		s.voice.Line(&s.log, zerolog.WarnLevel).AnErr("why", errMemory).Msg("session ended for what it holds")
		go s.end.shut(errMemory, true)
		return engine.TickIdle
	case o.Expired && s.refused != nil: // a client goes on with a new session; its streams end
		go s.refused(epoch)
		return engine.TickIdle
	case o.Expired:
		go s.end.shut(ErrTimeout, false)
		return engine.TickIdle
	}
	m.obey(o, now)
	m.tell(tales)
	next = m.again(o, now)
	m.calm.Store(next > engine.TickBusy)
	s.move()
	return next
}

// again does what has a time of its own beside the engine's orders (Data ACKs, addresses, order,
// streams), and returns when to tick again, in ns: with what is owed, and late where somebody
// wakes the monitor before. The caller holds turn.
func (m *monitor) again(o *engine.Orders, now int64) (next int64) {
	s := m.s
	next = o.Next
	if len(m.absences) > 0 {
		next = min(next, backLook)
	}
	more := o.Busy
	if o.Ack != nil {
		f := connOf(o.Ack)
		if s.space.pending.Load() > 0 {
			more = true
			if wait := s.space.ackAt.Load() + ackDelay - now; wait > 0 {
				next = min(next, wait)
			} else {
				f.sendAck()
			}
		}
		if f.advertise() {
			next = min(next, engine.TickIdle)
		}
	}
	if s.reseq.tick(now, o.Hold) {
		more, next = true, engine.TickBusy
	}
	s.streams.Tick(now - m.still) // what they wait for cannot come while all are stale
	if s.streams.Count() > 0 {    // they have times of their own
		next = min(next, engine.TickIdle)
	}
	if more { // nobody wakes it for what comes, but a subflow does
		if !o.Alone {
			next = min(next, engine.TickCalm)
		}
	} else {
		m.ticking.Store(false)
		// What came meanwhile found the monitor awake and did not wake it.
		if m.owes() {
			m.ticking.Store(true)
			next = engine.TickBusy
		}
	}
	return next
}

// learn has the carriers report that are to.
func (m *monitor) learn(now int64) {
	s := m.s
	var room [engine.MaxSubflows]engine.Ask
	asks := room[:0]
	s.enter(func(e *engine.Engine, _ int64) { asks = e.Due(now, asks) })
	for i := range asks {
		connOf(asks[i].Sub).report(asks[i].Full)
	}
}

// spanMost is how long a path's round trip, in ns, streams make room for: what is farther carries
// too little to be waited for.
const spanMost = 500e6

// movedPause is how often a person at the server is told that a client's flows moved.
const movedPause = 30 * time.Second

// obey does what a tick of the engine wants done, without its lock. The caller holds turn.
func (m *monitor) obey(o *engine.Orders, at int64) {
	s := m.s
	for i := range o.Tune {
		connOf(o.Tune[i].Sub).tune(&o.Tune[i])
	}
	for _, f := range o.Replace {
		connOf(f).wantReplacement()
	}
	for i := range o.Said {
		said := &o.Said[i]
		line := s.log.Debug()
		// A client's owner says it in other words.
		if said.What == engine.FlowsMoved && !s.client && time.Since(m.saidMoved) > movedPause {
			m.absences.note(said.At, said.Path, at, said.After)
		}
		line = line.Str("path", said.Path)
		if said.Sub != nil {
			line = line.Int("subflow", said.Sub.Slot())
		}
		if said.After > 0 {
			line = line.Int64("after_ms", said.After/1e6)
		}
		if said.What == engine.FlowsMoved {
			line.Msgf("path %s died: its flows moved to others", said.Path)
			continue
		}
		line.Msg(said.What)
	}
}

// tell tells a person at the server of paths. The caller holds turn.
func (m *monitor) tell(tales []tale) {
	for _, t := range tales {
		line := m.s.voice.Line(&m.s.log, zerolog.InfoLevel).Str("path", t.path)
		if t.dead {
			m.saidMoved = time.Now()
			line = line.Int64("after_ms", t.moved/1e6)
		}
		line.Msg(t.text)
	}
}

// owes says that there is something to do for the monitor.
func (m *monitor) owes() (owes bool) {
	s := m.s
	s.enter(func(e *engine.Engine, _ int64) {
		owes = e.Busy() || s.space.pending.Load() > 0 && e.AckBy() != nil
	})
	return owes || s.reseq.holds()
}

// overdrawn counts what the session holds, and says whether it has to end for it. The
// caller holds turn.
func (m *monitor) overdrawn() (over bool) {
	s := m.s
	if s.memory == nil || m.cut {
		return false
	}
	beside := s.streams.Held() + s.beside.Load()
	part, over := s.memory.hold(s, int64(m.held)+beside)
	m.cut = over
	m.window = int(min(room(part, beside), math.MaxInt))
	s.streams.SetBudget(part / 2)
	return over
}

// room is how much may be without a Data ACK in a session whose part of the memory is
// that, while its streams and the kernel at their other ends hold so much: who takes in
// what it does not take out is slowed before it is cut. The kernel has what is in flight
// once more, and an eighth is for what comes before that shows.
func room(part, beside int64) int64 {
	return min(max((part-part/8-beside)/2, part/16), part/4)
}
