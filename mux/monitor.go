package mux

import (
	"context"
	"slices"
	"time"

	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/gauge"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// The monitor is a session's only timer. It ticks while something is under
// way and sleeps otherwise; it measures, finds stalls, sends what has become
// due, and pumps.

const (
	tickBusy = 5 * time.Millisecond
	tickIdle = 250 * time.Millisecond

	// askAfter is when bytes without a Data ACK make the monitor ask the kernel
	// for its own; measureEvery is how often it reads TCP_INFO, and measureStart
	// while what is under way fills the window and TCP may enlarge it. Both calls
	// lock the socket.
	askAfter     = 8e6
	measureEvery = 20e6
	measureStart = 4e6

	// ackDelay is how long received bytes may stay without a Data ACK of
	// their own; data in the other direction carries it at once.
	ackDelay = 25e6

	// keepAlive keeps NAT bindings of idle subflows open; 15 s is below every
	// timeout in use.
	keepAlive = 15e9
	// probeTimeout is when an unanswered probe on an idle subflow makes it
	// stale.
	probeTimeout = 3e9
	// quietAfter is how long a path may bring nothing while others do, before
	// it is asked; then an answer has to come within quietTimeout.
	quietAfter   = 500e6
	quietTimeout = 700e6
	quietWatch   = 10e9

	// A subflow is stale when nothing was acknowledged for two round trips,
	// but never sooner than this: the machine may have been busy.
	minStall = 30e6
	maxStall = 3e9
	// stallUnknown stands for the two round trips before one was measured.
	stallUnknown = 500e6

	sweepEvery = 100e6

	// darkAfter is how long a path must have been silent: a loss stalls one
	// subflow while its neighbours go on.
	darkAfter = 20e6

	// replaceAfter is how long a subflow may be stale before another is dialled
	// for it.
	replaceAfter = 700e6
	// replaceAlone is the same while no subflow of the session moves: nothing is
	// carried until another one is up, and perhaps only by another server.
	replaceAlone = 300e6
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
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	if len(s.subs) == 0 && s.lastUp != 0 && now-s.lastUp > int64(s.timeout) {
		s.lastUp = 0
		epoch := s.epoch
		s.mu.Unlock()
		if s.refused != nil { // a client goes on with a new session; its streams end
			go s.refused(epoch)
		} else {
			go s.shut(ErrTimeout, false)
		}
		return false
	}
	for _, p := range s.paths {
		p.proof, p.stalled = 0, 0
	}
	for _, f := range s.subs {
		f.path.heard = max(f.path.heard, f.lastRecv.Load())
		s.heard = max(s.heard, f.path.heard)
		before := f.tx.retrans
		f.measure(now)
		if f.tx.retrans > before {
			f.path.lossAt, s.lossAt = now, now
		}
		f.watch(now)
		f.path.proof = max(f.path.proof, f.proof)
		if f.stale {
			f.path.stalled = max(f.path.stalled, f.staleSince)
		}
	}
	for _, p := range s.paths {
		s.inquire(p, now)
		s.judge(p, now)
	}
	s.missing(now)
	s.lossy = gauge.LostLately(s.lossAt, now)
	s.queue.Grace = len(s.subs) == 0 || now-s.trouble < fq.GraceTime
	s.estimate(now)
	s.copyBudget.Refill(passed, s.octets+s.space.total.Load(), s.queue.Backlog() > 0)
	if now-s.swept > sweepEvery {
		s.swept = now
		s.sweepFlows(now)
	}
	ackTo := s.ackSubflow()
	more := s.busy()
	bound := s.holdBound
	s.mu.Unlock()

	if ackTo != nil && s.space.pending.Load() > 0 {
		more = true
		if now-s.ackAt.Load() >= ackDelay {
			s.ackAt.Store(now)
			s.sendAck(ackTo)
		}
	}
	if ackTo != nil {
		s.advertise(ackTo, now)
	}
	more = s.reseq.tick(now, bound) || more
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

// busy says that something is under way or waits to be.
func (s *Session) busy() bool {
	return s.inflight.Head != s.inflight.Tail || !s.queue.Idle() || len(s.redo) > 0
}

// owes says that there is something to do for the monitor.
func (s *Session) owes() bool {
	s.mu.Lock()
	owes := s.busy() || s.space.pending.Load() > 0 && s.ackSubflow() != nil
	s.mu.Unlock()
	return owes || s.reseq.holds()
}

// watch finds stalls, keeps idle subflows alive, and asks for replacements.
func (f *subflow) watch(now int64) {
	s := f.s
	wait := f.age(now)
	if p := now - f.progress; p < wait {
		wait = p
	}
	switch limit := f.stallTime(); {
	case wait > limit:
		f.stall(now)
	case f.probeSent != 0 && now-f.probeSent > max(f.probeTimeout(now), limit) && f.lastRecv.Load() < f.probeSent:
		f.stall(now)
	case f.mute:
	case f.stale && f.sentRing.una == f.sentRing.tail && f.probeSent == 0 && (!f.tx.kernel || f.tx.outstanding == 0):
		f.recover(now)
	case f.stale && f.progress > f.staleSince:
		f.recover(now)
	}
	if idle := now - max(f.lastRecv.Load(), 0); idle > keepAlive && f.probeSent == 0 {
		f.ping(now)
	}
	if f.stale && !f.lost && now-f.staleSince > s.replaceWait() {
		f.lost = true
		s.arrange() // a subflow that is moving carries bulk instead
		f.wantReplacement()
	}
	if lw := s.lowat(f); lw > f.tx.lowat*5/4 || lw < f.tx.lowat*3/4 {
		f.tx.lowat = lw
		f.carrier.setLowat(lw)
	}
}

// replaceWait is how long a subflow may be stale before another is dialled for it.
func (s *Session) replaceWait() int64 {
	if slices.ContainsFunc(s.subs, moves) {
		return replaceAfter
	}
	return replaceAlone
}

func (f *subflow) recover(now int64) {
	f.stale = false
	if f.lost {
		f.lost = false
		f.s.arrange()
	}
	f.s.rescue()
	f.s.log.Debug().Str("path", f.path.cfg.Name).Int("subflow", f.slot).Int64("after_ms", (now-f.staleSince)/1e6).Msg("subflow moves again")
}

// ping asks the peer for a sign of life.
func (f *subflow) ping(now int64) {
	if f.closed || f.probeSent != 0 {
		return
	}
	f.probeSent = now
	f.control = appendProbe(f.control, probePing, uint64(now))
}

// probeTimeout is how long an answer may take: a path that was just in use is
// awake.
func (f *subflow) probeTimeout(now int64) int64 {
	if f.path.quiet(now) {
		return quietTimeout
	}
	return probeTimeout
}

// quiet says that nothing comes by the path any more, though it lately did.
func (p *path) quiet(now int64) bool {
	return p.heard != 0 && now-p.heard > quietAfter && now-p.heard < quietAfter+quietWatch
}

// inquire asks a path that is quiet while others bring something for a sign of
// life, unless it should sleep. A half that only receives learns of a dead path
// by this alone.
func (s *Session) inquire(p *path, now int64) {
	if !p.quiet(now) || now-s.heard > quietAfter || p.dark || p.cfg.Metered {
		return
	}
	for _, f := range s.subs {
		if f.path == p && !f.closed && !f.stale && !f.backup {
			f.ping(now)
			return
		}
	}
}

// judge finds a path dark when one of its subflows stalled and none has shown
// a sign of life since: those with nothing outstanding would otherwise look
// well. They are asked at once.
func (s *Session) judge(p *path, now int64) {
	if p.heard >= p.doubted {
		p.doubted = 0
	}
	dark := p.stalled > p.proof && now-p.proof > darkAfter || p.doubted != 0 && now-p.doubted > darkAfter+2*max(p.srtt, p.rtt)
	if dark && !p.dark {
		s.trouble = now
		s.log.Debug().Str("path", p.cfg.Name).Msg("path is dark")
		for _, f := range s.subs {
			if f.path == p {
				if f.sentRing.una < f.sentRing.tail {
					f.stall(now)
				}
				f.ping(now)
			}
		}
	}
	p.dark = dark
}

// wantReplacement tells the dialler, once.
func (f *subflow) wantReplacement() {
	f.replaceOnce.Do(func() { close(f.replace) })
}

// lowat is the unsent data that the kernel may hold for f.
func (s *Session) lowat(f *subflow) int {
	return min(max(int(max(f.path.rate, f.tx.rate)*lowatTime), minLowat), maxLowat)
}

// ackSubflow chooses where a Data ACK of its own goes: one that is to rest is
// left alone.
func (s *Session) ackSubflow() (best *subflow) {
	resting := func(f *subflow) bool { return f.backup || f.path.cfg.Metered || f.path.capped }
	for _, f := range s.subs {
		if f.closed || f.stale {
			continue
		}
		switch {
		case best == nil || resting(best) && !resting(f):
			best = f
		case resting(best) == resting(f) && f.tx.srtt < best.tx.srtt:
			best = f
		}
	}
	return best
}

// retire sends MP_TCPRST on a subflow and ends it.
func (s *Session) retire(f *subflow, why mptcp.Reason) {
	s.queueControl(f, (&mptcp.Reset{Reason: why}).Append(nil))
	s.pump()
	time.AfterFunc(closeLinger, f.close)
}
