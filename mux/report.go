package mux

import (
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/mux/engine"
)

// A PathReport is how a configured path of a Client does.
type PathReport struct {
	Path     Path
	Subflows int            // that are up, and
	Moving   int            // of these, not stalled
	Remote   netip.AddrPort // where they go; the zero value without any
	Dark     bool           // stalled, without a sign of life since
	Silent   time.Duration  // since something last came by it
	Moved    time.Duration  // what was under way there when a subflow last stalled or ended took so long until it went by others,
	MovedAgo time.Duration  // and that was so long ago; zero both when nothing ever was
	Error    string         // of the last attempt to reach the server; "" after one that worked
	ErrorAgo time.Duration  // since that
	Frozen   int            // how often within FrozenTime subflows stood still though the next ones got through at once
	Month    uint64         // bytes of TCP since the billing month began
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
	out := make([]PathReport, 0, len(c.paths))
	for _, p := range c.paths {
		k := c.meter.of(p)
		k.add(now, 0)
		r := PathReport{
			Path: p.cfg, Error: p.bad,
			Month: k.month.bytes, Until: k.until(&p.cfg, now),
		}
		if p.bad != "" {
			r.ErrorAgo = time.Since(p.badAt)
		}
		for _, t := range p.froze {
			if time.Since(t) < FrozenTime {
				r.Frozen++
			}
		}
		c.session.enter(func(_ *engine.Engine, now int64) {
			r.Dark, r.Silent = p.path.State() == engine.PathDark, time.Duration(now-p.path.HeardAt())
			if took, at := p.path.Moved(); at != 0 {
				r.Moved, r.MovedAgo = time.Duration(took), time.Duration(now-at)
			}
			for _, f := range p.path.Subflows() {
				if f.State() == engine.Ended {
					continue
				}
				r.Subflows++
				if f.State() == engine.Moving {
					r.Moving++
					r.Remote = connOf(f).remote
				} else if !r.Remote.IsValid() {
					r.Remote = connOf(f).remote
				}
			}
		})
		out = append(out, r)
	}
	return out
}

// Carried returns what the paths of a name have carried, whether there is such a path now or not: bytes
// of TCP since midnight, and since the billing month began that begins on that day; and when the next
// one begins.
func (c *Client) Carried(name string, billingDay int) (today, month uint64, renews time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.clock()
	if k := c.meter.counts[name]; k != nil {
		k.billing = billingDay
		k.add(now, 0)
		today, month = k.day.bytes, k.month.bytes
	}
	return today, month, billingMonth(now, billingDay, 1)
}
