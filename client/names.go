package client

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/records"
)

const (
	// minTTL keeps a TTL of 0 from causing a question per datagram.
	minTTL = 5 * time.Second
	// failTTL is the pause after a question that got no answer.
	failTTL = time.Second
	// staleTime is how long an expired answer serves while a new one is asked
	// for, so that a running game does not stall every TTL (after RFC 8767).
	staleTime = 30 * time.Second
	// questionTime is how long datagrams wait for a name. Applications have
	// sent theirs again by then.
	questionTime = 5 * time.Second
	// lateTime is how long after the question an answer is taken in for which nobody waits any
	// more: a path's round trip may be longer than questionTime.
	lateTime = 30 * time.Second
	// questionTick is how often open questions are looked after; a question
	// is asked again after 4 and 12 of them: after 1 and 3 s, as resolvers do.
	questionTick = 250 * time.Millisecond

	// maxNames is how many names are remembered: about 1 MiB.
	maxNames = 4096
	// maxQuestions is how many are under way or wait for that, half of them for one holder
	// at most.
	maxQuestions = 1024
	// maxWaiting is how many bytes of buffers wait for names in all, half of them for one
	// holder at most, and maxWaitingEach how many datagrams of one inner port: a QUIC
	// client's first flights.
	maxWaiting     = 4 << 20
	maxWaitingEach = 64
)

// resolver is where names are asked for: the server, inside the tunnel.
var resolver = netip.AddrPortFrom(packet.ServerHost4, packet.ResolverPort)

// names turns domain destinations into addresses. It asks the server's
// resolver through the tunnel from an inner port of its own, A and AAAA at
// once; IPv4 is preferred, for it is reachable from every server. Lock order:
// an inner's mutex, then this one.
type names struct {
	inner // set once at construction: the port that asks

	mu      sync.Mutex // guards all following fields
	byHost  map[string]*name
	open    map[uint16]*name // questions under way by DNS ID, two per name, or those whose replies are late
	asking  asking
	bytes   int         // of the buffers that wait
	timer   *time.Timer // runs while questions are open; or nil
	ticking bool        // it does
	stopped bool
}

func newNames(c *Client) (*names, error) {
	t := &names{byHost: make(map[string]*name), open: make(map[uint16]*name)}
	t.inner.client = c
	return t, c.ports.take(&t.innerPort, t)
}

// find returns the entry of a host, or nil if it can be no host name or there
// is no room.
func (t *names) find(host []byte) *name {
	var space [maxHost]byte
	key, ok := appendHost(space[:0], host)
	if !ok {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.byHost[string(key)]; n != nil { // does not allocate
		return n
	}
	if len(t.byHost) >= maxNames && !t.evict() {
		return nil
	}
	n := &name{host: string(key)}
	if a, ok := parseLiteral(n.host); ok {
		never := time.Now().AddDate(100, 0, 0)
		n.answer.Store(&answer{addr: a, fresh: never, stale: never})
	}
	t.byHost[n.host] = n
	return n
}

// evict makes room by forgetting a name: of a few at random the one whose
// answer is the oldest. The caller holds t.mu.
func (t *names) evict() bool {
	var oldest *name
	var until time.Time
	seen := 0
	for _, n := range t.byHost {
		if n.asking {
			continue
		}
		var u time.Time
		if a := n.answer.Load(); a != nil {
			u = a.fresh
		}
		if oldest == nil || u.Before(until) {
			oldest, until = n, u
		}
		if seen++; seen == 8 {
			break
		}
	}
	if oldest == nil {
		return false
	}
	delete(t.byHost, oldest.host)
	return true
}

// wait lets a datagram wait for n, and asks. It returns false, and leaves the
// Buffer to the caller, if too much waits. The caller holds w.in.mu.
func (t *names) wait(n *name, w waitingDatagram, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	size := buf.Headroom + w.b.Cap()
	if t.stopped || w.in.waiting >= maxWaitingEach || t.bytes+size > maxWaiting || !t.asking.hold(w.in.holder, size) {
		return false
	}
	if !t.ask(n, w.in.holder, now) {
		t.asking.hold(w.in.holder, -size)
		return false
	}
	t.bytes += size
	w.in.waiting++
	n.waiting = append(n.waiting, w)
	return true
}

// refresh asks again for a name whose answer has expired, on behalf of a holder.
func (t *names) refresh(n *name, by admission.Holder, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.stopped {
		t.ask(n, by, now)
	}
}

// ask opens the question for n unless it is open, or has it wait for its turn. t.mu is held.
func (t *names) ask(n *name, by admission.Holder, now time.Time) bool {
	if n.asking {
		return true
	}
	n.holder = by
	at, ok := t.asking.enter(n)
	if !ok {
		return false
	}
	n.asking, n.begun, n.settled, n.late, n.since, n.ticks, n.replies = true, false, false, false, now, 0, [2]*reply{}
	if at {
		t.begin(n)
	}
	switch { // who asks all the time does not put it off
	case t.timer == nil:
		t.timer = time.AfterFunc(questionTick, t.tick)
	case !t.ticking:
		t.timer.Reset(questionTick)
	}
	t.ticking = true
	return true
}

// begin sends the questions for n. t.mu is held.
func (t *names) begin(n *name) {
	n.begun = true
	for i := range n.ids {
		if t.open[n.ids[i]] == n { // a late reply to the question before does as well
			continue
		}
		id := uint16(rand.Uint32())
		for t.open[id] != nil {
			id++
		}
		n.ids[i] = id
		t.open[id] = n
	}
	t.send(n)
}

var questionTypes = [2]dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}

// send queues the questions of n that have no reply; the Loop's round or tick
// flushes them. t.mu is held; it guards t.inner's fields too, since only names
// uses them.
func (t *names) send(n *name) {
	for i, typ := range questionTypes {
		if n.replies[i] != nil {
			continue
		}
		b := buf.Get(512)
		msg, err := records.AppendQuery(b.Bytes()[:0], n.ids[i], n.host+".", typ)
		if err != nil || len(msg) > 512 {
			b.Release() // cannot be: the name was checked
			continue
		}
		b.Resize(len(msg))
		if !t.wrap(b, resolver, 0) {
			b.Release()
			continue
		}
		t.client.tunnel.Send(&t.source, []*buf.Buffer{b})
	}
}

// receive takes an answer from the tunnel.
func (t *names) receive(d *delivery, _, payload []byte) {
	if d.udp.Src != resolver {
		t.client.drops.add(dropPacket)
		return
	}
	var p dnsmessage.Parser
	h, err := p.Start(payload)
	if err != nil {
		t.client.drops.add(dropPacket)
		return
	}
	t.mu.Lock()
	n := t.open[h.ID]
	i := 0
	if n != nil && h.ID == n.ids[1] {
		i = 1
	}
	if n == nil || n.settled && !n.late && i == 0 {
		t.mu.Unlock()
		return
	}
	r, err := parseAnswer(&p, h, n.host, questionTypes[i])
	if err != nil {
		t.mu.Unlock()
		t.client.drops.add(dropPacket)
		return
	}
	n.replies[i] = &r
	if n.settled && !n.late {
		t.mu.Unlock()
		return // settle is at it, and looks
	}
	a, done := n.judge(time.Now())
	if n.late {
		t.close(n)
		if done {
			n.answer.Store(a)
		}
		t.mu.Unlock()
		return
	}
	n.settled = done
	t.mu.Unlock()
	if done {
		t.settle(n, a)
	}
}

// settle sends off what waits for n and then publishes the answer: what comes
// later must not overtake. A few rounds do, for those who wait are bounded.
func (t *names) settle(n *name, a *answer) {
	begun := false
	for round := 0; ; round++ {
		t.mu.Lock()
		waiting := n.waiting
		n.waiting = nil
		for _, w := range waiting {
			t.bytes -= buf.Headroom + w.b.Cap()
			t.asking.hold(w.in.holder, -(buf.Headroom + w.b.Cap()))
		}
		if len(waiting) == 0 || round == 8 {
			n.answer.Store(a.beside(n.replies[1]))
			n.asking = false
			if n.told != nil {
				close(n.told)
				n.told = nil
			}
			t.close(n)
			t.asking.leave(n, n.begun)
			for next := t.asking.next(); next != nil && !t.stopped; next = t.asking.next() {
				t.begin(next)
				begun = true
			}
		}
		asking := n.asking
		t.mu.Unlock()
		for _, w := range waiting {
			w.send(a, time.Now())
		}
		if len(waiting) > 0 || begun {
			begun = false
			t.client.tunnel.Flush()
		}
		t.sent(waiting)
		if !asking {
			return
		}
	}
}

// tick asks again and gives up; the timer calls it while questions are open.
func (t *names) tick() {
	now := time.Now()
	var late []*name
	again := false
	t.mu.Lock()
	for id, n := range t.open {
		t.tooLate(n, now)
		if n.settled || !n.begun || id != n.ids[0] {
			continue
		}
		if now.Sub(n.since) >= questionTime {
			n.settled = true
			late = append(late, n)
			continue
		}
		n.ticks++
		if n.ticks == 4 || n.ticks == 12 {
			t.send(n)
			again = true
		}
	}
	t.asking.each(func(n *name) {
		if now.Sub(n.since) >= questionTime && !n.settled {
			n.settled = true
			late = append(late, n)
		}
	})
	if t.ticking = len(t.open)+t.asking.waits > 0 && !t.stopped; t.ticking {
		t.timer.Reset(questionTick)
	}
	t.mu.Unlock()
	if again {
		t.client.tunnel.Flush()
	}
	for _, n := range late {
		a := n.failed(now)
		if six := n.replies[1]; six != nil && six.addr.IsValid() {
			a = six.answer(now) // only the IPv4 question got lost
		}
		t.settle(n, a)
	}
}

// stop ends the timer and gives back what waits.
func (t *names) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.timer != nil {
		t.timer.Stop()
	}
	drop := func(n *name) {
		for _, w := range n.waiting {
			w.b.Release()
		}
		n.waiting = nil
	}
	for _, n := range t.open {
		drop(n)
	}
	t.asking.each(drop)
}
