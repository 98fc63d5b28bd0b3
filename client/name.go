package client

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/buf"
)

// name is one host and what is known of it.
type name struct {
	host   string                 // lower case; set once
	answer atomic.Pointer[answer] // nil until there is one
	// shunned are addresses that did not answer, or nil.
	shunned atomic.Pointer[[]shunned]

	// Guarded by names.mu.
	asking  bool
	holder  admission.Holder // on whose behalf
	begun   bool             // it is under way, and does not wait for its turn
	settled bool             // the new answer is on its way to those who wait
	late    bool             // nobody waits for the answer any more, and a reply may still come
	since   time.Time        // when the question was opened
	ticks   int              // looked after so often
	ids     [2]uint16        // of the A and the AAAA question
	replies [2]*reply
	waiting []waitingDatagram
	told    chan struct{} // closed when the answer is there; nil if nobody waits so
}

// answer is an immutable result.
type answer struct {
	addr         netip.Addr   // invalid: there is no such host
	others       []netip.Addr // further addresses, the second one first
	fresh, stale time.Time    // good until; usable until, while a new one is asked for
}

// waitingDatagram is a datagram whose destination is being asked for.
type waitingDatagram struct {
	in   *inner
	name *name
	b    *buf.Buffer
	port uint16
	tos  uint8
}

// judge says whether the replies so far are enough, and what they say.
func (n *name) judge(now time.Time) (*answer, bool) {
	a4, a6 := n.replies[0], n.replies[1]
	best := a4
	switch {
	case a4 != nil && a4.addr.IsValid():
	case a4 == nil || a6 == nil:
		return nil, false
	case a6.addr.IsValid():
		best = a6
	case a4.failed || a6.failed:
		return n.failed(now), true
	case a6.ttl < a4.ttl:
		best = a6
	}
	return best.answer(now).beside(a6), true
}

// beside returns the answer with the IPv6 addresses of a reply, if it has any, behind its
// own, which are IPv4: where none of these answers, flows go to them.
func (a *answer) beside(six *reply) *answer {
	if six == nil || !six.addr.IsValid() || !a.addr.Is4() || slices.Contains(a.others, six.addr) {
		return a
	}
	more := *a
	more.others = slices.Concat(a.others, []netip.Addr{six.addr}, six.others)
	return &more
}

// answer is what the reply is worth from now on. Only an address serves beyond
// its time.
func (r *reply) answer(now time.Time) *answer {
	fresh := now.Add(max(r.ttl, minTTL))
	if !r.addr.IsValid() {
		return &answer{fresh: fresh, stale: fresh}
	}
	return &answer{r.addr, r.others, fresh, fresh.Add(staleTime)}
}

// failed is the answer when there is none: the former one for a moment more,
// or that nothing is known.
func (n *name) failed(now time.Time) *answer {
	until := now.Add(failTTL)
	if old := n.answer.Load(); old != nil && now.Before(old.stale) {
		return &answer{old.addr, old.others, until, old.stale}
	}
	return &answer{fresh: until, stale: until}
}

// send sends a datagram that waited, or drops it if its name does not exist or
// its owner has gone.
func (w waitingDatagram) send(a *answer, now time.Time) {
	w.in.mu.Lock()
	defer w.in.mu.Unlock()
	switch {
	case w.in.closed:
		w.in.client.drops.add(dropClosed)
	case !a.addr.IsValid():
		w.in.client.drops.add(dropName)
	case w.in.wrap(w.b, netip.AddrPortFrom(w.in.address(w.name, w.port, a, now), w.port), w.tos):
		w.in.client.tunnel.Send(&w.in.source, appendPackets(nil, w.b))
		return
	}
	w.b.Release()
}

// close ends the questions for n that have a reply; the others' are late, unless they have just
// been sent, as of many that waited for their turn until now. t.mu is held.
func (t *names) close(n *name) {
	n.late = false
	for i, id := range n.ids {
		switch {
		case t.open[id] != n:
		case n.replies[i] != nil || n.replies[0] == nil && n.ticks == 0:
			delete(t.open, id)
		default:
			n.late = true
		}
	}
}

// tooLate ends the wait for late replies when it has been long enough: for the IPv6 addresses of
// a name whose others are known that is as long as for an answer. t.mu is held.
func (t *names) tooLate(n *name, now time.Time) {
	limit := lateTime
	if n.replies[0] != nil {
		limit = questionTime
	}
	if n.late && now.Sub(n.since) >= limit {
		n.late = false
		for _, id := range n.ids {
			if t.open[id] == n {
				delete(t.open, id)
			}
		}
	}
}

// sent notes that datagrams wait no more.
func (t *names) sent(waited []waitingDatagram) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range waited {
		if w.in.waiting--; w.in.waiting == 0 && w.in.calm != nil {
			close(w.in.calm)
			w.in.calm = nil
		}
	}
}

// await waits until no datagram of an inner waits for its name, as long as a question takes at
// most, or until the client ends. One goroutine may do so for an inner.
func (t *names) await(in *inner) {
	t.mu.Lock()
	if in.waiting == 0 || t.stopped {
		t.mu.Unlock()
		return
	}
	calm := make(chan struct{})
	in.calm = calm
	t.mu.Unlock()
	late := time.NewTimer(questionTime + 2*questionTick)
	defer late.Stop()
	select {
	case <-calm:
	case <-late.C:
	case <-t.client.life.Done():
	}
}
