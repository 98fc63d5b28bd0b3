package mux

import (
	"context"
	"time"

	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// The monitor is a session's only timer. It ticks while something is under
// way and sleeps otherwise; it measures, finds stalls, sends what has become
// due, and pumps.

const (
	tickBusy = time.Duration(engine.TickBusy)
	tickIdle = 250 * time.Millisecond

	// ackDelay is how long received bytes may stay without a Data ACK of
	// their own; data in the other direction carries it at once.
	ackDelay = 25e6
)

// touch makes the monitor tick. The monitor itself must not call it: it would
// never sleep.
func (s *Session) touch() {
	if !s.ticking.Load() && !s.ticking.Swap(true) {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// run is the monitor goroutine: started by the session's owner, ends with the
// session or the context.
func (s *Session) run(ctx context.Context) {
	t := time.NewTimer(tickIdle)
	defer t.Stop()
	last := s.now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.done:
			return
		case <-s.wake:
		case <-t.C:
		}
		now := s.now()
		s.ticks.Add(1)
		if s.tick(now, now-last) {
			t.Reset(tickBusy)
		} else {
			t.Reset(tickIdle)
		}
		last = now
	}
}

// tick does what is due and reports whether there is more to watch closely.
func (s *Session) tick(now, passed int64) bool {
	s.learn(now)
	var o *engine.Orders // the monitor's until the next Tick
	over := false
	var epoch uint64
	s.enter(func(e *engine.Engine, _ int64) {
		if over = s.closed; over {
			return
		}
		beside := 0
		for _, f := range e.Subflows() {
			f.Heard(connOf(f).lastRecv.Load())
			beside += connOf(f).carrier.Held()
		}
		o, epoch = e.Tick(now, passed, s.space.total.Load()), e.Epoch()
		s.held = e.Charge(s.window) + beside
	})
	switch {
	case over:
		return false
	case s.overdrawn():
		s.log.Warn().AnErr("why", errMemory).Msg("session ended for what it holds")
		go s.shut(errMemory, true)
		return false
	case o.Expired && s.refused != nil: // a client goes on with a new session; its streams end
		go s.refused(epoch)
		return false
	case o.Expired:
		go s.shut(ErrTimeout, false)
		return false
	}
	s.obey(o)

	more := o.Busy
	if o.Ack != nil {
		f := connOf(o.Ack)
		if s.space.pending.Load() > 0 {
			more = true
			if now-s.ackAt.Load() >= ackDelay {
				s.ackAt.Store(now)
				s.sendAck(f)
			}
		}
		s.advertise(f)
	}
	more = s.reseq.tick(now, o.Hold) || more
	more = s.streams.Tick(now) || more
	if !more {
		s.ticking.Store(false)
		// What came meanwhile found the monitor awake and did not wake it.
		if more = s.owes(); more {
			s.ticking.Store(true)
		}
	}
	s.move()
	return more
}

// learn has the carriers report that are to.
func (s *Session) learn(now int64) {
	var room [engine.MaxSubflows]engine.Ask
	asks := room[:0]
	s.enter(func(e *engine.Engine, _ int64) { asks = e.Due(now, asks) })
	for i := range asks {
		connOf(asks[i].Sub).report(asks[i].Full)
	}
}

// obey does what a tick of the engine wants done, without its lock.
func (s *Session) obey(o *engine.Orders) {
	for i := range o.Tune {
		connOf(o.Tune[i].Sub).tune(&o.Tune[i])
	}
	for _, f := range o.Replace {
		connOf(f).wantReplacement()
	}
	for i := range o.Said {
		said := &o.Said[i]
		line := s.log.Debug()
		if said.What == engine.FlowsMoved && !s.client { // a client's owner says it in other words
			line = s.log.Info()
		}
		line = line.Str("path", said.Path)
		if said.Sub != nil {
			line = line.Int("subflow", said.Sub.Slot())
		}
		if said.After > 0 {
			line = line.Int64("after_ms", said.After/1e6)
		}
		line.Msg(said.What)
	}
}

// owes says that there is something to do for the monitor.
func (s *Session) owes() (owes bool) {
	s.enter(func(e *engine.Engine, _ int64) {
		owes = e.Busy() || s.space.pending.Load() > 0 && e.AckBy() != nil
	})
	return owes || s.reseq.holds()
}

// retire sends MP_TCPRST on a subflow and ends it.
func (s *Session) retire(f *subflow, why mptcp.Reason) {
	s.queueControl(f, (&mptcp.Reset{Reason: why}).Append(nil))
	s.pump()
	time.AfterFunc(closeLinger, f.close)
}
