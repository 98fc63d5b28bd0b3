package client

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

const (
	// takeoverTime is how long the application's known port has to be silent
	// before another port of its host takes its place. A program that has
	// opened its socket anew does not go on with the old one; where both speak,
	// the other one is a sibling.
	takeoverTime = 200 * time.Millisecond
	// maxHeld is how many datagrams of the new port wait for that, and
	// maxHeldBytes bounds their buffers, of all associations; of one user's by quota.
	maxHeld      = 8
	maxHeldBytes = 4 << 20
	// doubtTime is how long no further sender is looked at after one was
	// refused: asking the system whose a socket is costs more than a datagram.
	doubtTime = 10 * time.Millisecond
)

// appPort is where an association's application sends from and gets replies.
// The port that the request announces is believed only when a datagram has come
// from it: behind a NAT it is another one, and some programs announce anything.
// The relay socket is not connected to it, for the kernel would drop what a new
// port sends, uncounted.
type appPort struct {
	at atomic.Pointer[netip.AddrPort] // nil before the first datagram

	// Guarded by the association's mutex.
	announced uint16         // 0: none
	vouched   bool           // the socket there was its user's when it was announced
	rival     *rival         // a port that wants to take over, or nil
	former    netip.AddrPort // whose place at has taken; invalid = nobody's
	siblings  map[netip.AddrPort]*sibling
	doubt     time.Time // no new sender is looked at before
}

// rival is another port of the application's host, with what it has sent.
type rival struct {
	addr  netip.AddrPort
	held  []udpio.Message
	bytes int
	timer *time.Timer
}

// from says whether a datagram is from the application, and from which socket of it: nil is
// the known one. One of another port of its host may be held instead: then m.Buf is nil. a.mu
// is held.
func (a *association) from(m *udpio.Message, now *moment) (other *sibling, ok bool) {
	p := &a.port
	at := p.at.Load()
	if at != nil && m.Addr == *at {
		if p.rival != nil {
			a.welcome(now) // the known port is not silent
		}
		return nil, true
	}
	if s := p.siblings[m.Addr]; s != nil {
		return s, true
	}
	switch addr := m.Addr.Addr(); {
	case addr != a.app && addr.WithZone("") != a.app.WithZone(""):
		return nil, false
	case at != nil && m.Addr.Port() == at.Port():
		return nil, true // the zone of a link-local address is written differently
	case p.rival != nil:
		if m.Addr == p.rival.addr {
			a.hold(m)
		}
		return nil, false
	case now.get().Before(p.doubt):
		return nil, false
	case !a.owns(m.Addr):
		p.doubt = now.get().Add(doubtTime)
		return nil, false
	case at == nil || m.Addr.Port() == p.announced:
		p.known(m.Addr)
		return nil, true
	case m.Addr == p.former:
		s := a.seat(m.Addr, now.get())
		return s, s != nil
	}
	r := &rival{addr: m.Addr}
	p.rival = r
	r.timer = time.AfterFunc(takeoverTime, func() { a.takeOver(r) })
	a.hold(m)
	return nil, false
}

// known makes a port the one that is answered. The association's mutex is held.
func (p *appPort) known(addr netip.AddrPort) {
	if old := p.at.Swap(&addr); old != nil {
		p.former = *old
	}
}

// welcome makes the rival a sibling and sends on what it has sent, or dismisses it if there is
// no room. a.mu is held.
func (a *association) welcome(now *moment) {
	r := a.port.rival
	s := a.seat(r.addr, now.get())
	if s == nil {
		a.dismiss()
		return
	}
	a.port.rival = nil
	r.timer.Stop()
	for i := range r.held {
		s.send(&r.held[i], now)
	}
	a.letGo(r)
}

// seat serves another socket of the association, which is known to be its user's; nil if there
// is no room. a.mu is held.
func (a *association) seat(at netip.AddrPort, now time.Time) *sibling {
	p := &a.port
	if len(p.siblings) >= maxSiblings {
		var oldest *sibling
		for _, s := range p.siblings {
			if oldest == nil || s.sent.Before(oldest.sent) {
				oldest = s
			}
		}
		if now.Sub(oldest.sent) < siblingIdle {
			return nil
		}
		oldest.close()
	}
	if !a.client.associations.Acquire(a.holder) {
		return nil
	}
	s := &sibling{of: a, at: at, sent: now}
	s.client, s.source, s.holder = a.client, a.source, a.holder
	if a.client.ports.take(&s.innerPort, s) != nil {
		a.client.associations.Release(a.holder)
		return nil
	}
	if p.siblings == nil {
		p.siblings = make(map[netip.AddrPort]*sibling)
	}
	p.siblings[at] = s
	return s
}

// hold keeps a datagram of the rival, if there is room. a.mu is held.
func (a *association) hold(m *udpio.Message) {
	r := a.port.rival
	size := buf.Headroom + m.Buf.Cap()
	if len(r.held) >= maxHeld || !a.client.held.Take(a.holder, size) {
		return
	}
	r.bytes += size
	r.held = append(r.held, *m)
	m.Buf = nil
}

// dismiss forgets the rival and drops what it has sent. a.mu is held.
func (a *association) dismiss() {
	r := a.port.rival
	if r == nil {
		return
	}
	a.port.rival = nil
	r.timer.Stop()
	a.client.drops[dropSource].Add(uint64(len(r.held)))
	a.letGo(r)
}

// letGo gives back the buffers that the rival's datagrams still have.
func (a *association) letGo(r *rival) {
	for i := range r.held {
		if b := r.held[i].Buf; b != nil {
			b.Release()
		}
	}
	r.held = nil
	a.client.held.Give(a.holder, r.bytes)
}

// takeOver makes the rival the application's port and sends on what it has
// sent; the rival's timer calls it.
func (a *association) takeOver(r *rival) {
	var now moment
	var pkts []*buf.Buffer
	datagrams := 0
	a.mu.Lock()
	if a.closed || a.port.rival != r {
		a.mu.Unlock()
		return
	}
	a.port.rival = nil
	a.port.known(r.addr)
	for i := range r.held {
		if b := a.request(&r.held[i], &now); b != nil {
			pkts = appendPackets(pkts, b)
			datagrams++
		}
	}
	a.letGo(r)
	if len(pkts) > 0 {
		a.client.tunnel.Send(&a.source, pkts)
	}
	a.mu.Unlock()
	a.loop.sent.Add(uint64(datagrams))
	a.client.tunnel.Flush()
}
