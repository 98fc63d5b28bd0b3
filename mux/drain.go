package mux

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// How a server goes away: it takes no new connections, tells its clients when it will be
// gone, and they move to another server if one answers. What is under way may end.

// probeLeave tells a client that its server ends in so many milliseconds.
const probeLeave = 5

// leaveIn is a probeLeave.
func leaveIn(left time.Duration) []byte {
	return engine.AppendProbe(nil, probeLeave, uint64(left.Milliseconds()))
}

const (
	// moveWait is how long a new stream waits for those that are under way to end before
	// the move cuts them.
	moveWait = 2 * time.Second
	// movePoll is how often a client that is to move looks whether it may.
	movePoll = 50 * time.Millisecond
	// moveAgain is how often it asks for another server, when none has answered: one that is
	// just being started, most likely.
	moveAgain = time.Second
	// What was sent before a move is waited for as long as answers come, and until none has
	// come for hushQuiet and the round trip to the server, at most hushMost.
	hushQuiet = 30 * time.Millisecond
	hushMost  = 400 * time.Millisecond
	hushPoll  = 5 * time.Millisecond
)

// A leave is the time from when a client knows that it moves until it has.
type leave struct {
	once   sync.Once
	wanted chan struct{} // closed when a new stream waits
	over   chan struct{} // closed when the session is another one
	ended  sync.Once
}

// newLeave has new streams wait.
func newLeave(s *Session) *leave {
	l := &leave{wanted: make(chan struct{}), over: make(chan struct{})}
	s.leave.Store(l)
	return l
}

// end lets them go on. It may be called more than once.
func (l *leave) end(s *Session) {
	l.ended.Do(func() {
		s.leave.CompareAndSwap(l, nil)
		close(l.over)
	})
}

// wait waits for the end of a move, which a new stream hastens, unless the session's end
// comes first. A nil one is no move.
func (l *leave) wait(ctx context.Context, done <-chan struct{}) error {
	if l == nil {
		return nil
	}
	l.once.Do(func() { close(l.wanted) })
	return l.settled(ctx, done)
}

// settled waits for the end of a move, which it does not hasten.
func (l *leave) settled(ctx context.Context, done <-chan struct{}) error {
	if l == nil {
		return nil
	}
	select {
	case <-l.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-done:
		return ErrClosed
	}
}

// leaves has the session moved, beside the reader that has heard of it.
func (o *opening) leaves(epoch uint64, in time.Duration) {
	o.c.slots.Go(func() { o.moveAway(epoch, in) })
}

// moveAway moves the session to another server, if there is one, before the present one
// ends: when no stream is under way, soon after a new one is wanted, at the latest when a
// quarter of the time is left. Packets that are queued stay; associations live on.
func (o *opening) moveAway(epoch uint64, left time.Duration) {
	c := o.c
	ctx := c.running()
	o.mu.Lock()
	again := o.moving == epoch
	o.moving = epoch
	o.mu.Unlock()
	if ctx == nil || again {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, left*3/4)
	defer cancel()
	s := c.session
	// From now on new streams wait: this server takes none.
	l := newLeave(s)
	defer func() { l.end(s) }()
	here := s.core.remotes(func(f *engine.Subflow) bool { return f.State() != engine.Ended })
	there, ok := o.elsewhere(ctx, here)
	if !ok {
		s.voice.Line(&c.cfg.Log, zerolog.WarnLevel).Stringer("in", left).Msg("the server is about to end, and no other one answers: staying until then")
		l.end(s) // who wants a stream hears that there is none
		if there, ok = o.await(ctx, epoch, here); !ok {
			return
		}
		l = newLeave(s)
	}
	s.voice.Line(&c.cfg.Log, zerolog.InfoLevel).Stringer("in", left).Stringer("to", there).Msg("the server is about to end: moving to another one when what is under way has ended")
	tick := time.NewTicker(movePoll)
	defer tick.Stop()
	wanted, hurry := l.wanted, (<-chan time.Time)(nil)
	for waiting := true; waiting && s.streams.Busy() > 0; {
		select {
		case <-tick.C:
		case <-wanted:
			wanted, hurry = nil, time.After(moveWait)
		case <-hurry:
			waiting = false
		case <-ctx.Done():
			waiting = false
		case <-s.end.done:
			return
		}
	}
	s.hush.Store(true)
	settle(ctx, s)
	s.end.farewell(epoch)
	o.renewAfter(epoch, "the server is about to end: moving to "+there.String())
	s.hush.Store(false)
	s.pump()
	for _, p := range c.list() {
		for _, a := range here {
			p.book.Failed(a, time.Now())
		}
	}
}

// settle waits until the peer has what was sent and its answers are here, while nothing new
// is sent: what is under way when a session ends is lost.
func settle(ctx context.Context, s *Session) {
	tick := time.NewTicker(hushPoll)
	defer tick.Stop()
	begun, seen, at := time.Now(), s.space.total.Load(), time.Now()
	for now := begun; now.Sub(begun) < hushMost; {
		select {
		case <-ctx.Done():
			return
		case <-s.end.done:
			return
		case now = <-tick.C:
		}
		flying, trip := false, int64(0)
		s.enter(func(e *engine.Engine, _ int64) { flying, trip = engine.Flying(e) })
		if n := s.space.total.Load(); n != seen || flying {
			seen, at = n, now
		} else if now.Sub(at) >= hushQuiet+time.Duration(trip) {
			return
		}
	}
}

// elsewhere looks for another server that proves its key now, by any path.
func (o *opening) elsewhere(ctx context.Context, here []netip.AddrPort) (netip.AddrPort, bool) {
	for _, p := range o.c.list() {
		if addrs, _, _ := p.targets(); len(slices.DeleteFunc(addrs, func(a netip.AddrPort) bool { return slices.Contains(here, a) })) == 0 {
			continue
		}
		v, err := p.race(ctx, dialTimeout, here)
		if err == nil {
			v.carrier.Close()
			return v.addr, true
		}
	}
	return netip.AddrPort{}, false
}

// await asks for another server until one answers or it is too late.
func (o *opening) await(ctx context.Context, epoch uint64, here []netip.AddrPort) (there netip.AddrPort, ok bool) {
	tick := time.NewTicker(moveAgain)
	defer tick.Stop()
	for !ok {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return there, false
		case <-o.c.session.end.done:
			return there, false
		}
		if o.c.session.keys().epoch != epoch {
			return there, false
		}
		there, ok = o.elsewhere(ctx, here)
	}
	return there, true
}

// Version is the release of this program, which the halves tell each other. It is set
// before anything is made.
var Version string

// probeVersion tells the peer which release this is, in ASCII.
const probeVersion = 6

// appendVersion says which release this is.
func appendVersion(b []byte) []byte {
	if Version == "" {
		return b
	}
	x := mptcp.Experimental{Type: probeVersion}
	x.SetPayload([]byte(Version[:min(len(Version), mptcp.MaxExperimental)]))
	return x.Append(b)
}

// probeUnsummed tells the peer that this side does not look at the checksum of TCP in the
// packets of streams, as TLS has authenticated them: it may leave that 0.
const probeUnsummed = 8
