package mux

import (
	"context"
	"time"
)

// Byte caps of metered paths. They count the mapped bytes of both directions
// since the client started, by the local calendar; a path over its cap is
// closed until the next day or month. Counts do not survive a restart.

type capCount struct {
	day, month         time.Time
	dayBytes           int64
	monthBytes         int64
	lastSent, lastRecv uint64
	over               bool
}

// count adds what was carried since the last call and reports whether a cap is
// reached.
func (c *capCount) count(now time.Time, p *Path, sent, received uint64) bool {
	y, m, d := now.Date()
	day := time.Date(y, m, d, 0, 0, 0, 0, now.Location())
	month := time.Date(y, m, 1, 0, 0, 0, 0, now.Location())
	if !day.Equal(c.day) {
		c.day, c.dayBytes = day, 0
	}
	if !month.Equal(c.month) {
		c.month, c.monthBytes = month, 0
	}
	n := int64(sent-c.lastSent) + int64(received-c.lastRecv)
	c.lastSent, c.lastRecv = sent, received
	c.dayBytes += n
	c.monthBytes += n
	return (p.DailyCap > 0 && c.dayBytes >= p.DailyCap) || (p.MonthlyCap > 0 && c.monthBytes >= p.MonthlyCap)
}

// watchCaps checks the caps every second; it ends with ctx.
func (c *Client) watchCaps(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			c.checkCaps(now)
		}
	}
}

func (c *Client) checkCaps(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range c.paths {
		if p.path.cfg.DailyCap == 0 && p.path.cfg.MonthlyCap == 0 {
			continue
		}
		received := p.path.received
		for _, f := range s.subs {
			if f.path == p.path {
				received += f.rxOctets.Load()
			}
		}
		over := p.caps.count(now, &p.path.cfg, p.path.sent, received)
		if over != p.caps.over {
			p.caps.over = over
			p.path.capped = over
			c.cfg.Log.Warn().Str("path", p.path.cfg.Name).Bool("over", over).Msg("byte cap of the path")
			for _, f := range s.subs {
				if f.path == p.path {
					f.setBackup(over)
				}
			}
		}
	}
}
