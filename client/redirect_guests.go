package client

import (
	"net/netip"
	"sync"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/ledger"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

const (
	// maxGuests bounds the UDP sockets of other machines at one redirect, each of which
	// has an inner port; half of limits.associations if that is less.
	maxGuests = 8192
	// maxReplies bounds the pairs of such a socket and a destination from which it is
	// answered; each destination has a socket here.
	maxReplies = 8192
	// guestIdle is how many sweeps a socket lives without a datagram, and askedIdle is
	// the same for one that has sent a single one: a question to a resolver, mostly.
	guestIdle, askedIdle = forwardIdle, 1
)

// redirectGuests are the UDP sockets of other machines at a redirect, and where they are
// answered from. Whoever needs a place when all are taken gets that of the longest silent
// one: its own machine's if that has its share, else anybody's.
type redirectGuests struct {
	redirect *redirect // set once

	mu      sync.Mutex // guards the rest; no guest's lock is taken under it, see leave
	by      map[netip.AddrPort]*guestSocket
	mouths  map[netip.AddrPort]*mouth
	sockets admission.Shares[netip.Addr, *guestSocket]
	replies admission.Shares[netip.Addr, *answerer]
	gone    []*guestSocket
	ended   bool
}

// guestSocket is one UDP socket of another machine: an inner port, whatever it sends to.
type guestSocket struct {
	inner
	redirect *redirect
	addr     netip.AddrPort
	place    ledger.Entry[netip.Addr, *guestSocket] // guarded by redirectGuests.mu
	replies  map[netip.AddrPort]*answerer           // guarded by redirectGuests.mu
	active   activity                               // datagrams; swept with redirectGuests.mu held
	sent     uint64                                 // datagrams; guarded by redirectGuests.mu
}

// answerer is a destination that a guest has sent to: only from there it is answered.
type answerer struct {
	guest *guestSocket
	mouth *mouth
	place ledger.Entry[netip.Addr, *answerer] // guarded by redirectGuests.mu
}

// mouth is a socket that speaks for one destination, for all guests that sent there.
type mouth struct {
	at    netip.AddrPort
	conn  *udpio.Conn
	users int
}

// uplink takes a batch that was redirected, on the Loop's goroutine.
func (r *redirect) uplink(_ *udpio.Conn, msgs []udpio.Message) {
	for len(msgs) > 0 {
		n := 1
		for n < len(msgs) && msgs[n].Addr == msgs[0].Addr && msgs[n].To == msgs[0].To {
			n++
		}
		r.send(msgs[:n])
		msgs = msgs[n:]
	}
}

// send sends datagrams of one guest to one destination.
func (r *redirect) send(msgs []udpio.Message) {
	c, from, to := r.client, msgs[0].Addr, msgs[0].To
	g, why := r.guests.entering(from, to, len(msgs))
	if g == nil {
		c.drops[why].Add(uint64(len(msgs)))
		return
	}
	g.inner.mu.Lock()
	defer g.inner.mu.Unlock()
	for i := range msgs {
		m := &msgs[i]
		if g.closed {
			c.drops.add(dropClosed)
			continue
		}
		if m.TTL == 1 {
			c.drops.add(dropTTL)
			continue
		}
		if !g.wrap(m.Buf, to, m.TOS) {
			continue
		}
		for b := m.Buf; b != nil && m.TTL > 0; b = b.Next { // a router takes one off
			packet.SetTTL(b.Bytes(), m.TTL-1)
		}
		r.loop.add(m.Buf)
		m.Buf = nil
	}
	r.loop.send(&g.inner)
}

// entering notes that a guest has sent n datagrams to a destination, and returns it; nil
// and the reason if it may not, or there is no room.
func (t *redirectGuests) entering(from, to netip.AddrPort, n int) (*guestSocket, dropReason) {
	t.mu.Lock()
	defer t.leave()
	g := t.by[from]
	var p *answerer
	if g != nil {
		p = g.replies[to]
	}
	if p == nil {
		if !from.IsValid() || from.Port() == 0 || !t.redirect.admits(to) || !mayReach(to) {
			return nil, dropLoop
		}
		if g == nil {
			if g = t.open(from); g == nil {
				return nil, dropForwardPeer
			}
		}
		if p = t.answerable(g, to); p == nil {
			return nil, dropForwardPeer
		}
	}
	g.active.note()
	g.sent += uint64(n)
	t.sockets.Touch(&g.place)
	t.replies.Touch(&p.place)
	return g, 0
}

// open makes a guest known; t.mu is held.
func (t *redirectGuests) open(from netip.AddrPort) *guestSocket {
	if t.ended {
		return nil
	}
	if t.by == nil {
		t.by, t.mouths = make(map[netip.AddrPort]*guestSocket), make(map[netip.AddrPort]*mouth)
	}
	c := t.redirect.client
	host := from.Addr().WithZone("")
	t.sockets.Cap = maxGuests
	if half := c.associations.Most() / 2; half > 0 {
		t.sockets.Cap = min(maxGuests, max(half, 1))
	}
	if out, full := t.sockets.Full(host); full {
		t.drop(out)
	}
	g := &guestSocket{redirect: t.redirect, addr: from, replies: make(map[netip.AddrPort]*answerer)}
	g.client, g.source.User, g.holder = c, host.String(), admission.HolderOf("", host)
	for !c.associations.Acquire(g.holder) {
		out, ok := t.sockets.FirstOf(host) // its own, for the total may be others'
		if !ok {
			return nil
		}
		t.drop(out)
	}
	if c.ports.take(&g.innerPort, g) != nil {
		c.associations.Release(g.holder)
		return nil
	}
	t.by[from] = g
	t.sockets.Add(&g.place, host, g)
	return g
}

// answerable lets a guest be answered from a destination; t.mu is held.
func (t *redirectGuests) answerable(g *guestSocket, to netip.AddrPort) *answerer {
	host := g.addr.Addr().WithZone("")
	if out, full := t.replies.Full(host); full {
		t.forget(out)
	}
	m := t.mouths[to]
	if m == nil {
		for !t.redirect.client.crowd.Descriptors.Take(1) {
			out, ok := t.replies.FirstOf(host)
			if !ok {
				return nil
			}
			t.forget(out)
		}
		r := t.redirect
		conn, err := r.loop.Listen(to, r.sockets(), r.uplink)
		if err != nil {
			r.client.crowd.Descriptors.Give(1)
			r.client.log.Debug().Err(err).Stringer("to", to).Msg("a redirected destination cannot be answered for")
			return nil
		}
		m = &mouth{at: to, conn: conn}
		t.mouths[to] = m
	}
	m.users++
	p := &answerer{guest: g, mouth: m}
	g.replies[to] = p
	t.replies.Add(&p.place, host, p)
	return p
}

// forget ends a pair, and the socket of its destination with the last one; t.mu is held.
func (t *redirectGuests) forget(p *answerer) {
	t.replies.Remove(&p.place)
	delete(p.guest.replies, p.mouth.at)
	if p.mouth.users--; p.mouth.users == 0 {
		delete(t.mouths, p.mouth.at)
		p.mouth.conn.Close()
		t.redirect.client.crowd.Descriptors.Give(1)
	}
}

// drop ends a guest; t.mu is held.
func (t *redirectGuests) drop(g *guestSocket) {
	for _, p := range g.replies {
		t.forget(p)
	}
	t.sockets.Remove(&g.place)
	delete(t.by, g.addr)
	g.client.associations.Release(g.holder)
	t.gone = append(t.gone, g)
}

// leave unlocks t.mu and ends the inner ports of those that were dropped: a guest's lock
// is held while the session takes its datagrams, and the session may be about to deliver
// what waits for t.mu.
func (t *redirectGuests) leave() {
	gone := t.gone
	t.gone = nil
	t.mu.Unlock()
	for _, g := range gone {
		g.end()
	}
}

// receive takes one packet from the tunnel to the guest, from where it came.
func (g *guestSocket) receive(d *delivery, _, payload []byte) {
	t := &g.redirect.guests
	t.mu.Lock()
	p := g.replies[d.udp.Src]
	t.mu.Unlock()
	if p == nil {
		g.client.drops.add(dropSource)
		return
	}
	g.active.note()
	g.answered(d.udp.Src)
	d.w.Add(p.mouth.conn, g.addr, d.udp.TOS, payload)
}

// sweep ends the guests that are idle.
func (t *redirectGuests) sweep() {
	t.mu.Lock()
	defer t.leave()
	for _, g := range t.by {
		most := guestIdle
		if g.sent == 1 {
			most = askedIdle
		}
		if g.active.over(most) {
			t.drop(g)
		}
	}
}

// close ends all of them.
func (t *redirectGuests) close() {
	t.mu.Lock()
	defer t.leave()
	t.ended = true
	for _, g := range t.by {
		t.drop(g)
	}
}

func (t *redirectGuests) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.by)
}
