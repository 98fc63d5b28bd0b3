package mux

import (
	"context"
	"time"
)

// watchCaps checks the caps every second; it ends with ctx.
func (c *Client) watchCaps(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			c.checkCaps(c.cfg.clock())
			c.keepUsage(false)
		}
	}
}

// checkCaps counts, stops the paths that have reached a cap, and starts those
// whose day or month is over.
func (c *Client) checkCaps(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	c.countBytes(now)
	for _, p := range c.paths {
		switch over := c.meter.over(p, now); {
		case over && p.cancel != nil:
			p.stop()
		case !over && p.cancel == nil:
			p.start()
		}
	}
}

// countBytes adds what the paths have carried since the last call to the counts
// of their names. The caller holds mu.
func (c *Client) countBytes(now time.Time) { c.meter.count(c.paths, now) }

// keepUsage writes what paths have carried when it is time, or now.
func (c *Client) keepUsage(now bool) {
	if !c.meter.usage.Due(now) {
		return
	}
	c.mu.Lock()
	if now {
		c.countBytes(c.cfg.clock())
	}
	all := c.meter.records()
	c.mu.Unlock()
	if err := c.meter.usage.Keep(all); err != nil {
		c.cfg.Log.Warn().Err(err).Msg("what paths have carried cannot be kept: a restart forgets it")
	}
}
