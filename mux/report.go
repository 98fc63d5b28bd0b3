package mux

import (
	"fmt"
	"net/netip"
	"time"
)

// A PathReport is how a configured path of a Client does.
type PathReport struct {
	Path     Path
	Subflows int            // that are up, and
	Moving   int            // of these, not stalled
	Remote   netip.AddrPort // where they go; the zero value without any
	Dark     bool           // stalled, without a sign of life since
	Silent   time.Duration  // since something last came by it
	Error    string         // of the last attempt to reach the server; "" after one that worked
	Today    uint64         // bytes of TCP since midnight, and
	Month    uint64         // since the billing month began
	Until    time.Time      // when the cap that it has reached is over; zero without one
}

// Reports returns how the paths do, in the order in which they were added. It is
// cheap enough for ten times a second.
func (c *Client) Reports() []PathReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.clock()
	if c.ctx != nil {
		c.countBytes(now)
	}
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]PathReport, 0, len(c.paths))
	for _, p := range c.paths {
		k := c.capCount(p)
		k.add(now, 0)
		r := PathReport{
			Path: p.path.cfg, Dark: p.path.dark, Error: p.bad, Silent: time.Duration(s.now() - p.path.heard),
			Today: k.dayBytes, Month: k.monthBytes, Until: k.until(&p.path.cfg, now),
		}
		for _, f := range s.subs {
			if f.path != p.path || f.closed {
				continue
			}
			r.Subflows++
			if !f.stale {
				r.Moving++
				r.Remote = f.remote
			} else if !r.Remote.IsValid() {
				r.Remote = f.remote
			}
		}
		out = append(out, r)
	}
	return out
}

// ID returns the session's number, by which both halves call it in logs, status
// and metrics: the token of the server's key (RFC 8684, Section 3.2), which the
// client has in its joins. On the client it is another one after a renewal, and 0
// before there are keys.
func (s *Session) ID() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.number()
}

// number is ID. The caller holds mu.
func (s *Session) number() uint32 {
	key := s.localKey
	if s.client {
		key = s.remoteKey
	}
	if s.epoch == 0 {
		return 0
	}
	return uint32(key.Token())
}

// Number writes a session's number as logs, status and metrics have it.
func Number(id uint32) string { return fmt.Sprintf("%08x", id) }
