package server

import (
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// A nat is the mappings of one session, by inner source.
type nat struct {
	peer   *peer
	outlet *outlet

	mu       sync.RWMutex // guards the rest; held for reading while a batch is delivered
	mappings map[uint64]*mapping
	closed   bool
}

// open makes the mapping of an inner source, or finds the one that another
// goroutine has just made. It is called without n.mu.
func (n *nat) open(key uint64, inner netip.AddrPort, now int64) (*mapping, dropReason) {
	p := n.peer
	n.clear(inner.Addr(), now)
	local, err := n.outlet.egress.local(inner.Addr().Is4())
	if err != nil {
		p.log.Debug().Err(err).Msg("no socket for a mapping")
		return nil, dropSocket
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, dropClosed
	}
	if m := n.mappings[key]; m != nil {
		return m, dropNone
	}
	m, err := n.add(key, inner, netip.AddrPortFrom(local, 0), false, now)
	switch {
	case err == errCapped:
		return nil, dropCap
	case err != nil:
		p.log.Debug().Err(err).Msg("no socket for a mapping")
		return nil, dropSocket
	}
	return m, dropNone
}

// clear makes room for a mapping of the client's, by an inner address, where there is none,
// among its own first. It is called with no lock held.
func (n *nat) clear(inner netip.Addr, now int64) {
	p, s := n.peer, n.peer.server
	spare := int64(s.spare)
	own := func(o *peer) bool { return o.client == p.client }
	every := func(*peer) bool { return true }
	pools := [...]pool{filesOf(p), portsOf(p, inner)}
	if p.mappings.own.full() || pools[0].full() || pools[1].full() {
		s.roll.relieve(p.client, now)
	}
	if p.mappings.own.full() {
		s.roll.evict(&p.mappings.own.barren, own, now, spare)
	}
	if p.mappings.all.full() {
		s.roll.evict(&p.mappings.all.barren, every, now, spare)
	}
	for _, some := range pools {
		if some.full() {
			s.roll.evict(&some.own.barren, own, now, spare)
		}
		if some.full() {
			s.roll.evict(&some.all.barren, every, now, spare)
		}
	}
}

// bind makes the mapping of an inner port that is published at an address of the
// client's choice, in the place of what the port had. It is whoever publishes it who ends it;
// displaced is called if another one takes its place before. It is called without n.mu.
func (n *nat) bind(inner, at netip.AddrPort, displaced func()) (*mapping, error) {
	key, ok := innerKey(inner)
	if !ok {
		return nil, packet.ErrPublish
	}
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil, net.ErrClosed
	}
	old := n.mappings[key]
	if old != nil {
		n.drop(key, old)
	}
	m, err := n.add(key, inner, at, true, n.peer.server.now())
	if err == nil {
		m.displaced = displaced
	}
	n.mu.Unlock()
	if old != nil && old.displaced != nil {
		old.displaced()
	}
	return m, err
}

// unbind drops a published mapping, unless another one has its place.
func (n *nat) unbind(m *mapping) {
	key, _ := innerKey(m.inner)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mappings[key] == m {
		n.drop(key, m)
	}
}

var errCapped = errors.New("too many mappings")

// add makes a mapping within the caps; the caller holds n.mu.
func (n *nat) add(key uint64, inner, at netip.AddrPort, published bool, now int64) (*mapping, error) {
	p := n.peer
	if !p.mappings.take() {
		return nil, errCapped
	}
	if !filesOf(p).take() {
		p.mappings.give()
		return nil, errCapped
	}
	given := at.Port() == 0
	if given && !portsOf(p, inner.Addr()).take() {
		filesOf(p).give()
		p.mappings.give()
		return nil, errCapped
	}
	m, err := n.outlet.listen(p, inner, at, published)
	if err != nil {
		n.free(inner.Addr(), given)
		return nil, err
	}
	m.given = given
	m.sent.Store(now)
	n.mappings[key] = m
	return m, nil
}

// drop forgets a mapping and frees its port; the caller holds n.mu.
func (n *nat) drop(key uint64, m *mapping) {
	delete(n.mappings, key)
	n.outlet.unmark(m.conn.LocalAddr()) // before its port is free for another
	_ = m.conn.Close()
	n.free(m.inner.Addr(), m.given)
}

// free gives back what add has taken.
func (n *nat) free(inner netip.Addr, given bool) {
	if given {
		portsOf(n.peer, inner).give()
	}
	filesOf(n.peer).give()
	n.peer.mappings.give()
}

// expire drops the mappings that have sent nothing since before.
func (n *nat) expire(before int64) {
	n.cull(func(m *mapping) bool { return m.visitors == nil && m.sent.Load() < before })
}

// cull drops the mappings of which so is true. It is called without n.mu.
func (n *nat) cull(so func(*mapping) bool) {
	var old []uint64
	n.mu.RLock()
	for key, m := range n.mappings {
		if so(m) {
			old = append(old, key)
		}
	}
	n.mu.RUnlock()
	for i, key := range old {
		n.mu.Lock()
		if m := n.mappings[key]; m != nil && so(m) {
			n.drop(key, m)
		}
		n.mu.Unlock()
		n.pause(i)
	}
}

// end drops the mappings of ended ports, and so makes room for others at once, but for those that
// are published: the news may be of what had the port before.
// The two minutes of RFC 4787 REQ-5 are for mappings whose owner still exists
// and may wait for an answer; here nobody does. It is called without n.mu.
func (n *nat) end(keys []uint64) {
	for i, key := range keys {
		n.mu.Lock() // for each: closing a socket takes some microseconds
		if m := n.mappings[key]; m != nil && m.visitors == nil {
			n.drop(key, m)
		}
		n.mu.Unlock()
		n.pause(i)
	}
}

// close drops all, for good.
func (n *nat) close() {
	for more := true; more; n.outlet.yield() {
		more = n.closeSome()
	}
}

// closeSome drops some, and says whether there are more.
func (n *nat) closeSome() (more bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	dropped := 0
	for key, m := range n.mappings {
		if dropped++; dropped > natPortion {
			return true
		}
		n.drop(key, m)
	}
	return false
}

// natPortion is how many sockets are made or closed for a client before others that wait for
// the processor have it: each takes some 10 us, and a client may have thousands.
const natPortion = 16

// pause lets others have the processor after each portion, of which the i-th socket was made or
// closed. It is called without n.mu.
func (n *nat) pause(i int) {
	if i%natPortion == natPortion-1 {
		n.outlet.yield()
	}
}

// memory is what the mappings hold, about, with whom may answer them, and the kernel for them: of many it is
// asked about some, which the map chooses each time, for who sends may fill them all.
func (n *nat) memory() (held int64) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	asked, kernel := 0, 0
	for _, m := range n.mappings {
		held += mappingMemory + m.permits.memory() + m.visitors.memory()
		if asked < kernelPortion {
			asked++
			kernel += m.conn.Held()
		}
	}
	return held + int64(kernel*len(n.mappings)/max(asked, 1))
}
