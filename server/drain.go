package server

import (
	"context"
	"time"
)

const (
	// drainPoll is how often a draining server looks whether anything is left.
	drainPoll = 100 * time.Millisecond
	// drainGrace is for how long a server that drains takes new streams of clients that may
	// not have heard of it.
	drainGrace = 300 * time.Millisecond
	// drainQuiet is how long no datagram may have moved for it to be empty: the next one
	// of a call or a game comes in less.
	drainQuiet = 2 * time.Second
)

// Drain has the server take no new sessions and streams, tells its clients, and returns
// when nothing is under way any more, or with the end of ctx, whose deadline the clients
// hear. Run goes on until its own context ends.
func (s *Server) Drain(ctx context.Context) {
	left := time.Minute
	if end, ok := ctx.Deadline(); ok {
		left = time.Until(end)
	}
	s.publishing.close() // visitors go elsewhere, with the client
	if s.listener != nil {
		s.listener.Drain(left)
	}
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	begun := time.Now()
	moved, since := s.moved(), begun
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.ctx.Done():
			return
		case now := <-tick.C:
			if now.Sub(begun) < drainGrace && len(s.roll.list()) > 0 {
				continue
			}
			s.draining.Store(true)
			if m := s.moved(); m != moved {
				moved, since = m, now
			}
			quiet := now.Sub(since) >= drainQuiet || s.mappings.used.Load() == 0
			if s.streams.used.Load() <= s.publishing.standing.Load() && (len(s.roll.list()) == 0 || quiet) {
				return
			}
		}
	}
}

// moved counts the datagrams of all clients, in both directions.
func (s *Server) moved() uint64 { return s.sent.Load() + s.received.Load() }
