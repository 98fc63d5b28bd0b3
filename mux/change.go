package mux

import (
	"slices"

	"github.com/mpsocks/mpsocks/mux/carrier"
)

// What changes while a Client or a Listener runs, without an end to anything that
// need not end. setpaths.go has the same for paths.

// Change has the listener go by another configuration: addresses are bound and
// left, clients come and go, policies hold for flows under way, limits for what
// begins from now on. A session ends if its client's key is not among the clients any
// more, or belongs to another name; no other does. With an error nothing has changed.
// Capture, Accept and Log cannot change.
func (l *Listener) Change(cfg ListenerConfig) error {
	old := l.live.Load()
	cfg.Capture, cfg.Accept, cfg.Log = old.Capture, old.Accept, old.Log
	next, err := newListening(cfg)
	if err != nil {
		return err
	}
	if err := l.rebind(cfg.Listen); err != nil {
		return err
	}
	l.goBy(next)
	for _, s := range l.Sessions() {
		next.govern(s)
	}
	return nil
}

// govern has a session go by the configuration, and says whether it may go on.
func (cfg *listening) govern(s *Session) bool {
	if name, known := cfg.Clients[s.identity]; !known || name != s.name {
		s.end.shut(errRevoked, true)
		return false
	}
	s.setPolicy(cfg.Mode, cfg.Rules, cfg.SessionTimeout)
	s.streams.SetMost(cfg.MaxStreams)
	return true
}

// rebind leaves the addresses that are not wanted any more and binds the new ones. An
// address with another option is left first: both cannot have it at once. A listener that
// drains has left all of them, for who comes after it.
func (l *Listener) rebind(want []ListenAddr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx != nil && l.ctx.Err() != nil {
		return ErrClosed
	}
	if !l.ends.IsZero() {
		return nil
	}
	var keep, leave []carrier.Door
	for _, d := range l.lns {
		if slices.ContainsFunc(want, d.Is) && d.Fits(want) {
			keep = append(keep, d)
		} else {
			leave = append(leave, d)
		}
	}
	var fresh []ListenAddr
	for _, a := range want {
		if !slices.ContainsFunc(keep, func(d carrier.Door) bool { return d.Is(a) }) {
			fresh = append(fresh, a)
		}
	}
	// Those in the way of a new one go first, and come back if that fails.
	inWay := func(d carrier.Door) bool {
		return slices.ContainsFunc(fresh, func(a ListenAddr) bool { return a.Addr.Port() == d.At.Addr.Port() && a.Addr.Port() != 0 })
	}
	var gone, before []ListenAddr
	for _, d := range l.lns {
		before = append(before, d.At)
	}
	for _, d := range leave {
		if inWay(d) {
			d.Close()
			gone = append(gone, d.At)
		}
	}
	bound, err := carrier.Bind(fresh, want)
	if err != nil {
		again, lost := carrier.Bind(gone, before)
		if lost != nil {
			l.live.Load().Log.Error().Err(lost).Msg("an address that was listened at cannot be had back")
		}
		leave = slices.DeleteFunc(leave, inWay)
		l.lns = slices.Concat(keep, leave, again)
		l.serveDoors(again)
		return err
	}
	for _, d := range leave {
		d.Close() // what was accepted lives on
	}
	l.lns = append(keep, bound...)
	l.serveDoors(bound)
	return nil
}

// serveDoors accepts at new doors, if Run has begun. The caller holds l.mu.
func (l *Listener) serveDoors(doors []carrier.Door) {
	if l.ctx == nil {
		return // Run does it
	}
	ctx := l.ctx
	for _, d := range doors {
		l.tasks.Go(func() { l.accept(ctx, d) })
	}
}
