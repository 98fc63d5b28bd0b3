// Package hands bounds how much of a process one client has at work at once while others
// are about.
//
// The scheduler takes what is ready in order of arrival and knows no clients: where one of
// them has a thousand streams with something to do, everybody else's next datagram stands
// behind all of them, and nobody looks at the network before they are through. So whoever
// works for a client, a subflow's reader or a stream, needs one of its hands for as long as
// that takes, and has none while it waits. There are fewer hands than processors: one is
// left for the others. A client that is alone needs none.
//
// The system's scheduler knows no clients either, and looks who waits for a processor at its
// ticks only, some milliseconds apart: for so long whoever was woken there stands behind a
// client's work, in this process or another. So who gives a hand back after a while of work,
// or works for strangers, lets those first; see Stint.
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
	yield func() // Yield; another one in tests
	start time.Time

	last  atomic.Pointer[Hands] // who took last
	mixed atomic.Int64          // when that last was somebody else than before, on Crowd's clock; 0 = never
}

// NewCrowd makes a Crowd in which each client has n hands, at least one. spare may be nil.
func NewCrowd(n int, spare *Spare) *Crowd {
	return &Crowd{each: max(n, 1), spare: spare, yield: Yield, start: time.Now()}
}

// Hands are one client's. It is safe for concurrent use; a nil *Hands is for whoever never
// needs any.
type Hands struct {
	crowd *Crowd
	free  chan *Hand
}

// A Hand is one of them, of whoever took it.
type Hand struct {
	of    *Hands
	stint Stint
}

// Hands makes those of one client; a nil *Crowd has none.
func (c *Crowd) Hands() *Hands {
	if c == nil {
		return nil
	}
	h := &Hands{c, make(chan *Hand, c.each)}
	for range c.each {
		h.free <- &Hand{of: h}
	}
	return h
}

// Take waits for a hand where the client is not alone, in order of arrival. It has to be given
// back; nil is none, for who needs none.
func (h *Hands) Take() *Hand {
	if h == nil || !h.crowd.about(h) {
		return nil
	}
	var d *Hand
	select {
	case d = <-h.free:
	default:
		h.crowd.spare.ask()
		d = <-h.free
	}
	d.stint.Begin()
	return d
}

// Free says whether Take would not wait now.
func (h *Hands) Free() bool { return h == nil || len(h.free) > 0 }

// Give gives it back, after others of the machine where it has worked for long. It waits for
// nothing else; a nil *Hand is none.
func (d *Hand) Give() {
	if d == nil {
		return
	}
	d.stint.end(d.of.crowd.yield)
	d.of.free <- d
}

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
