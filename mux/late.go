package mux

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// A path may be farther than an attempt waits for TCP's handshake, as by a satellite behind a full queue
// or by GPRS. Attempts that wait longer would find a path late that comes back, as a SYN goes again ever
// more seldom. So beside the attempts one handshake goes on at each address that was silent, and the
// attempt that is there when it is through, or comes soon after, has the connection.

// lateKept is how long such a connection is kept for the next attempt: longer than the pause
// between two, and shorter than a server waits for what a client has to say.
const lateKept = 2500 * time.Millisecond

// A late is such a handshake. What changes is guarded by Client.mu.
type late struct {
	began   time.Time
	end     context.CancelFunc
	through chan struct{} // closed when there is a connection
	conn    net.Conn      // nil: there is none yet
	wanted  bool          // an attempt waits for it
}

// lates are those of a path.
type lates struct{ p *clientPath }

// lateAt is where one leads, and with segments of how many bytes at most; see dial.
type lateAt struct {
	addr    netip.AddrPort
	segment int
}

// dial connects to an address by TCP, with segments of so many bytes at most, 0 = any, for so long.
// began is when that handshake did, which may be before.
func (l lates) dial(ctx context.Context, a netip.AddrPort, segment int, timeout time.Duration) (conn net.Conn, began time.Time, err error) {
	at := lateAt{a, segment}
	own, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	before := l.want(at)
	if before != nil {
		done := make(chan struct{})
		defer close(done)
		go func() {
			select {
			case <-before.through:
				cancel()
			case <-done:
			}
		}()
	}
	conn, began, err = l.reach(own, segment, a)
	switch {
	case before == nil && err != nil && ctx.Err() == nil && errors.Is(own.Err(), context.DeadlineExceeded):
		l.goOn(at)
	case before != nil && err == nil:
		before.end()
	case before != nil:
		if c := l.take(at, before); c != nil {
			return c, before.began, nil
		}
	}
	return conn, began, err
}

// want returns the late handshake there, unless another attempt waits for it, or nil.
func (l lates) want(at lateAt) *late {
	l.p.c.mu.Lock()
	defer l.p.c.mu.Unlock()
	h := l.p.late[at]
	if h == nil || h.wanted {
		return nil
	}
	h.wanted = true
	return h
}

// take takes its connection, which is nil where there is none, or somebody has it.
func (l lates) take(at lateAt, h *late) net.Conn {
	l.p.c.mu.Lock()
	defer l.p.c.mu.Unlock()
	h.wanted = false
	if l.p.late[at] != h || h.conn == nil {
		return nil
	}
	delete(l.p.late, at)
	h.end()
	return h.conn
}

// goOn begins a late handshake, unless there is one, or many.
func (l lates) goOn(at lateAt) {
	p, c := l.p, l.p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.late[at] != nil || len(p.late) >= maxServers || p.cancel == nil {
		return
	}
	ctx, end := context.WithTimeout(c.ctx, farTime)
	h := &late{began: time.Now(), end: end, through: make(chan struct{})}
	if p.late == nil {
		p.late = make(map[lateAt]*late)
	}
	p.late[at] = h
	c.slots.Go(func() {
		defer end()
		conn, err := c.cfg.dial(ctx, p.dialWay(), at.segment, at.addr)
		c.mu.Lock()
		if h.conn = conn; err != nil {
			delete(p.late, at)
		}
		c.mu.Unlock()
		if err != nil {
			return
		}
		close(h.through)
		kept := time.NewTimer(lateKept)
		defer kept.Stop()
		select {
		case <-kept.C:
		case <-ctx.Done():
		}
		if conn := l.take(at, h); conn != nil {
			conn.Close()
		}
	})
}

// forsake ends the late handshakes. The caller holds Client.mu.
func (l lates) forsake() {
	for _, h := range l.p.late {
		h.end()
	}
}
