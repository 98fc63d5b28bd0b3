package mux

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/mux/dialer"
)

// A route may have several next hops at once (ECMP). The system chooses one of them for each connection, or one for
// all to an address, and asks none whether it is alive.

// A reached is what became of one dial.
type reached struct {
	by    string // the interface that it was bound to; "" = the system chose
	conn  net.Conn
	began time.Time
	err   error
}

// reach makes the connection of an attempt, and says when that began. Where the path is bound to nothing and the
// system leads by several next hops at once, the interface of each is tried too when what the system chose is not through
// after a moment (RFC 8305, Section 5), or fails: the first that is through counts. The error is that of its choice.
func (l lates) reach(ctx context.Context, segment int, a netip.AddrPort) (conn net.Conn, began time.Time, err error) {
	c, way := l.p.c, l.p.dialWay()
	var forks []string
	if c.cfg.Forks != nil && way.Interface == "" && !way.Local.IsValid() {
		forks = c.cfg.Forks(a.Addr())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ends := make(chan reached, 1+len(forks)) // room for all, so that each goroutine ends
	dial := func(way dialer.Way) {
		r := reached{by: way.Interface, began: time.Now()}
		r.conn, r.err = c.cfg.dial(ctx, &way, segment, a)
		ends <- r
	}
	if len(forks) == 0 {
		dial(*way)
		r := <-ends
		return r.conn, r.began, r.err
	}
	c.slots.Go(func() { dial(*way) })
	running := 1
	later := time.NewTimer(dialer.Stagger)
	defer later.Stop()
	for running > 0 {
		select {
		case r := <-ends:
			running--
			if r.err == nil {
				c.slots.Go(func() { drop(ends, running) })
				return r.conn, r.began, nil
			}
			if r.by == "" {
				began, err = r.began, r.err
			}
		case <-later.C:
		}
		for _, name := range forks {
			by := *way
			by.Interface = name
			c.slots.Go(func() { dial(by) })
			running++
		}
		forks = nil
	}
	return nil, began, err
}

// drop closes what is through of so many dials that were cancelled.
func drop(ends <-chan reached, n int) {
	for range n {
		if r := <-ends; r.conn != nil {
			r.conn.Close()
		}
	}
}
