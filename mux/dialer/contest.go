package dialer

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// A contest is one race under way: the state of Run, whose goroutine alone touches it.
type contest[T any] struct {
	*Race[T]
	ctx   context.Context // of all attempts
	start time.Time
	all   []*attempt
	heard chan news[T]
	over  chan struct{} // closed when nobody listens any more

	said  bool  // Silent was told
	first error // why the first failed

	won   *Result[T] // by smaller packets, while larger ones may yet do,
	until time.Time  // until then
}

type news[T any] struct {
	of    *attempt
	value T
	err   error
	up    bool          // TCP is through, no more,
	took  time.Duration // and that took so long
}

// Run returns the winner; else the addresses that failed and why the first did.
func (r *Race[T]) Run(ctx context.Context) (*Result[T], []netip.AddrPort, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := contest[T]{Race: r, ctx: ctx, start: time.Now(), heard: make(chan news[T]), over: make(chan struct{})}
	defer close(c.over)
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		if c.won == nil {
			if lost, why := c.seek(time.Now()); lost {
				return nil, failed(c.all), why
			}
		} else if now := time.Now(); now.After(c.until) || !doubtful(c.all, c.won.Addr, c.won.MTU) {
			c.won.Lossy = lossy(c.all, c.won.Addr, now)
			return c.won, nil, nil
		}
		select {
		case n := <-c.heard:
			c.hear(n)
		case <-tick.C:
		case <-ctx.Done():
			if c.won != nil {
				r.Drop(c.won.Value)
			}
			if c.first == nil {
				c.first = ctx.Err()
			}
			return nil, failed(c.all), c.first
		}
	}
}

// begin makes one attempt, whose goroutine ends with the contest.
func (c *contest[T]) begin(a netip.AddrPort, mtu int) *attempt {
	at := &attempt{addr: a, mtu: mtu, began: time.Now()}
	c.all = append(c.all, at)
	c.Go(func() {
		v, err := c.Try(c.ctx, a, mtu, func(took time.Duration) {
			select {
			case c.heard <- news[T]{of: at, up: true, took: took}:
			case <-c.over:
			}
		})
		select {
		case c.heard <- news[T]{of: at, value: v, err: err}:
		case <-c.over:
			if err == nil {
				c.Drop(v)
			}
		}
	})
	return at
}

// seek begins the attempts that are due while nobody has won. The race is lost when none is
// under way or to come, and when all that are have long been silent.
func (c *contest[T]) seek(now time.Time) (lost bool, why error) {
	addrs, asking := c.Targets()
	age := now.Sub(c.start)
	mute := silent(c.all, now)
	next, more := c.next(addrs, c.all, now, age < c.Timeout || mute != nil)
	if more {
		whole := c.begin(next, c.MTU)
		if c.Narrow && Larger(c.MTU, probed) {
			whole.clamped = true
			c.begin(next, probed)
		}
	}
	if a, mtu, ok := c.smaller(c.all, now); ok {
		c.begin(a, mtu)
	}
	if age < retryFor {
		if a, ok := retry(c.all, now); ok {
			c.begin(a, c.MTU).retried = true
		}
		if a, ok := fresh(c.all, now); ok {
			c.begin(a, c.MTU).clamped = true // all sizes are being tried
		}
	}
	if mute != nil && !c.said && !more && c.Silent != nil {
		c.said = true
		c.Silent(mute)
	}
	switch {
	case mute != nil && age >= retryFor && hopeless(c.all, now):
		return true, mute
	case slices.ContainsFunc(c.all, func(a *attempt) bool { return !a.over }):
		return false, nil
	case !asking, age >= c.Timeout, len(c.all) > 0 && age > Stagger:
		return true, c.first
	}
	return false, nil
}

// hear takes news of an attempt.
func (c *contest[T]) hear(n news[T]) {
	switch {
	case n.up:
		n.of.connected, n.of.took = time.Now(), n.took
	case n.err == nil:
		n.of.over = true
		c.proved(n)
	default:
		n.of.over, n.of.ended = true, time.Now()
		if c.first == nil || c.ctx.Err() == nil && c.first == context.DeadlineExceeded {
			c.first = n.err
		}
	}
}

// proved takes an attempt that has won, unless one has that is no worse.
func (c *contest[T]) proved(n news[T]) {
	again := c.won == nil && Larger(c.MTU, n.of.mtu)
	if c.won != nil {
		if c.won.Addr != n.of.addr || !Larger(n.of.mtu, c.won.MTU) {
			c.Drop(n.value)
			return
		}
		c.Drop(c.won.Value)
	}
	c.won = &Result[T]{Value: n.value, Addr: n.of.addr, MTU: n.of.mtu, Beaten: beaten(c.all, n.of)}
	now := time.Now()
	if !again { // those that are larger still were begun with it
		if until := now.Add(grace); until.After(c.until) {
			c.until = until
		}
		return
	}
	// A server that was away answers all at once, and a load balancer finds another one for
	// who comes now: that says nothing of the path.
	c.until = now.Add(max(grace, now.Sub(n.of.began)*3/2))
	c.begin(c.won.Addr, c.MTU)
	for _, s := range sizes {
		if Larger(c.MTU, s) && Larger(s, n.of.mtu) {
			c.begin(c.won.Addr, s)
		}
	}
}
