//go:build linux && !mpsocks_portable

package udpio

// Where a Loop has sockets of several owners, each owner has a turn in each round: one with ten
// thousand of them, or with a flooded one, holds the others up for no longer than one with a
// single socket. What is ready and was not read when an owner's turn is over waits in its queue, and
// epoll, which tells of what is ready in one row, tells of it no more: whoever comes is told of
// in the next round.

const (
	// turnDatagrams, turnBytes and turnSockets are when an owner's turn is over; the last
	// socket's batch may go beyond.
	turnDatagrams = 64
	turnBytes     = 128 << 10
	turnSockets   = 32
)

// An owner is whoever has some of a Loop's sockets.
type owner struct {
	key     any
	sockets int // guarded by the Loop's mu

	// Guarded by the Loop's turn.
	waiting []*Conn // ready, in order; waits is set for each
	listed  bool    // in line or fresh
}

// turns are who has a Loop's sockets, and whose turn it is.
type turns struct {
	loop   *Loop
	yield  func()         // others that wait for the processor come first; another one in tests
	owners map[any]*owner // by Options.Owner; those with sockets. Guarded by the Loop's mu

	// Guarded by the Loop's turn.
	line  []*owner // who has sockets that wait,
	fresh []*owner // and in this round only
}

// own returns the owner of one more socket. The caller holds mu.
func (t *turns) own(key any) *owner {
	o := t.owners[key]
	if o == nil {
		o = &owner{key: key}
		t.owners[key] = o
	}
	o.sockets++
	return o
}

// disown notes that an owner has one socket less. The caller holds mu.
func (t *turns) disown(o *owner) {
	if o.sockets--; o.sockets == 0 {
		delete(t.owners, o.key)
	}
}

// share gives a turn to each owner with something ready, those first of whom nothing was left
// in the round before; n events were in this one. It says what lone is.
func (t *turns) share(n int) (lone bool) {
	l := t.loop
	lone = n == 1 && len(t.line) == 0
	t.enlist(n == maxEvents)
	for rounds := l.places() / maxEvents; n == maxEvents && rounds > 0; rounds-- {
		n = epollPoll(l.epfd, l.events[:]) // others are in the row behind those
		l.note(n)
		t.enlist(true)
	}
	t.fresh = append(t.fresh, t.line...)
	t.line = t.line[:0]
	for i, o := range t.fresh {
		t.fresh[i] = nil
		lone = t.serve(o) && lone
		if o.listed = len(o.waiting) > 0; o.listed {
			t.line = append(t.line, o)
		}
	}
	t.fresh = t.fresh[:0]
	for i, c := range l.ready {
		l.ready[i] = nil
		t.hide(c)
	}
	return lone
}

// enlist has the sockets of ready wait for their owners' turns, and hides them.
func (t *turns) enlist(hide bool) {
	for _, c := range t.loop.ready {
		if c.waits {
			continue
		}
		c.waits = true
		o := c.owner
		o.waiting = append(o.waiting, c)
		if !o.listed {
			o.listed = true
			t.fresh = append(t.fresh, o)
		}
		if hide {
			t.hide(c)
		}
	}
}

// hide has epoll not tell of a socket, if it waits.
func (t *turns) hide(c *Conn) {
	if c.waits && !c.hidden {
		c.hidden = t.loop.watch(c, false)
	}
}

// serve is an owner's turn, with what it has brought to be sent. It says whether that was one datagram
// at most, and nothing is left.
func (t *turns) serve(o *owner) (lone bool) {
	l := t.loop
	lone = true
	l.came = 0
	for visits, bytes := 0, 0; len(o.waiting) > 0 && visits < turnSockets && l.came < turnDatagrams && bytes < turnBytes; visits++ {
		c := o.waiting[0]
		o.waiting[0] = nil
		o.waiting = o.waiting[1:]
		c.waits = false
		if c.closed() {
			continue
		}
		if c.faulty {
			l.fail(c)
			lone = false
		}
		drained := l.visit(c)
		l.gathered.sockets++
		bytes += l.took
		lone = lone && drained
		switch {
		case c.rest.Rests(): // it is told of again when that ends
			c.hidden = false
		case !c.hidden: // epoll tells of what it has left
		case drained:
			c.hidden = !l.watch(c, true)
		default:
			c.waits = true
			o.waiting = append(o.waiting, c)
		}
	}
	lone = lone && l.came <= 1
	l.finish()
	if len(o.waiting) > 0 || l.came >= turnDatagrams { // it has more than a turn's: others of the machine come first, too
		t.yield()
	}
	return lone
}
