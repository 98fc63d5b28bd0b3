// Package hands bounds how much of a process one client has at work at once while others
// are about.
//
// The scheduler takes what is ready in order of arrival and knows no clients: where one of
// them has a thousand streams with something to do, everybody else's next datagram stands
// behind all of them, and nobody looks at the network before they are through. So whoever
// works for a client, a subflow's reader or a stream, needs one of its hands for as long as
// that takes, and has none while it waits. There are fewer hands than processors: one is
// left for the others. A client that is alone needs none.
package hands

import (
	"sync/atomic"
	"time"
)

// about is how long a client counts as being about after it last worked, ns.
const about = int64(time.Second)

// A Crowd is all clients of a process.
type Crowd struct {
	each  int
	spare *Spare
	start time.Time

	last  atomic.Pointer[Hands] // who took last
	mixed atomic.Int64          // when that last was somebody else than before, on Crowd's clock; 0 = never
}

// NewCrowd makes a Crowd in which each client has n hands, at least one. spare may be nil.
func NewCrowd(n int, spare *Spare) *Crowd {
	return &Crowd{each: max(n, 1), spare: spare, start: time.Now()}
}

// Hands are one client's. It is safe for concurrent use; a nil *Hands is for whoever never
// needs any.
type Hands struct {
	crowd *Crowd
	free  chan struct{}
}

// Hands makes those of one client; a nil *Crowd has none.
func (c *Crowd) Hands() *Hands {
	if c == nil {
		return nil
	}
	h := &Hands{c, make(chan struct{}, c.each)}
	for range c.each {
		h.free <- struct{}{}
	}
	return h
}

// Take waits for a hand where the client is not alone, in order of arrival, and says whether
// it took one, which has to be given back.
func (h *Hands) Take() (taken bool) {
	if h == nil || !h.crowd.about(h) {
		return false
	}
	select {
	case <-h.free:
	default:
		h.crowd.spare.ask()
		<-h.free
	}
	return true
}

// Free says whether Take would not wait now.
func (h *Hands) Free() bool { return h == nil || len(h.free) > 0 }

// Give gives one back. It never waits.
func (h *Hands) Give() { h.free <- struct{}{} }

// about says whether anybody but h is about.
func (c *Crowd) about(h *Hands) bool {
	if last := c.last.Load(); last != h {
		c.last.Store(h)
		if last != nil {
			c.mixed.Store(c.now())
			return true
		}
	}
	at := c.mixed.Load()
	return at != 0 && c.now()-at < about
}

// now is never 0.
func (c *Crowd) now() int64 { return int64(time.Since(c.start)) + 1 }
