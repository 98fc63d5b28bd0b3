package client

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/ledger"
	"github.com/mpsocks/mpsocks/mux/tcpio"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

const (
	// forwardSweep is how often idle peers are looked for, and forwardIdle how
	// many sweeps without a datagram end one: 5 minutes, as RFC 4787, REQ-5
	// recommends.
	forwardSweep = 30 * time.Second
	forwardIdle  = 10
	// maxForwardPeers bounds the applications at one forward; sender addresses
	// are easily invented. The longest silent one gives way to a new one.
	maxForwardPeers = 4096
)

// forward is one fixed forward of one protocol: whatever reaches its socket goes
// to one destination. Each application at a UDP one is an association without
// SOCKS, each connection of a TCP one a CONNECT without.
type forward struct {
	// Set once at construction.
	client *Client
	listen netip.AddrPort // as configured
	loop   *loop
	conn   *udpio.Conn     // or nil
	ln     *tcpio.Listener // or nil
	target atomic.Pointer[target]

	mu     sync.Mutex // guards the rest; taken once per batch, before a peer's mutex
	peers  map[netip.AddrPort]*forwardPeer
	places admission.Shares[netip.Prefix, *forwardPeer]
	ended  bool
}

// forwardPeer is one application at a forward: an inner port of its own.
type forwardPeer struct {
	inner
	forward *forward
	addr    netip.AddrPort
	place   ledger.Entry[netip.Prefix, *forwardPeer] // guarded by forward.mu
	active  activity                                 // datagrams; swept with forward.mu held
}

// target is where a forward leads.
type target struct {
	to   netip.AddrPort // its address is invalid if it is a name
	host []byte         // the name, or nil
}

// parseTarget reads the destination of a forward.
func parseTarget(r conf.Route) (*target, error) {
	if r.Port == 0 {
		return nil, fmt.Errorf("forward to %q: not host:port", r.Host)
	}
	t := &target{}
	addr, literal := parseLiteral(r.Host)
	if !literal {
		addr = netip.Addr{}
		var ok bool
		if t.host, ok = appendHost(nil, []byte(r.Host)); !ok {
			return nil, fmt.Errorf("forward to %q: not a host name", r.To())
		}
	}
	t.to = netip.AddrPortFrom(addr, r.Port)
	return t, nil
}

// newForward binds the socket of a forward.
func newForward(c *Client, r conf.Route, to *target, l *loop) (f *forward, err error) {
	f = &forward{client: c, listen: r.Listen, loop: l, peers: make(map[netip.AddrPort]*forwardPeer)}
	f.places.Cap = maxForwardPeers
	f.target.Store(to)
	if r.Proto == conf.ProtoTCP {
		f.ln, err = listen(r.Listen, nil)
	} else {
		f.conn, err = l.Listen(r.Listen, c.relays.of(f), f.uplink)
	}
	if err != nil {
		return nil, fmt.Errorf("forward %s: %w", r.Listen, c.front.explainBind(err, r.Listen, r.Proto == conf.ProtoTCP))
	}
	return f, nil
}

// is says whether the forward was bound for a route.
func (f *forward) is(r conf.Route) bool {
	return f.listen == r.Listen && (f.ln != nil) == (r.Proto == conf.ProtoTCP)
}

// address is where the forward listens.
func (f *forward) address() netip.AddrPort {
	if f.ln != nil {
		return addrOf(f.ln.Addr())
	}
	return f.conn.LocalAddr()
}

func (f *forward) listener() *tcpio.Listener { return f.ln }

// uplink takes a batch from the forward's socket, on the Loop's goroutine.
func (f *forward) uplink(c *udpio.Conn, msgs []udpio.Message) {
	var now moment
	c.Gather(f.client.tunnel.Far())
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		f.client.drops[dropClosed].Add(uint64(len(msgs)))
		return
	}
	for len(msgs) > 0 {
		n := 1
		for n < len(msgs) && msgs[n].Addr == msgs[0].Addr {
			n++
		}
		if p := f.peer(msgs[0].Addr); p != nil {
			p.send(msgs[:n], &now)
		} else {
			f.client.drops[dropForwardPeer].Add(uint64(n))
		}
		msgs = msgs[n:]
	}
}

// peer finds the application at an address, or makes it known. f.mu is held.
func (f *forward) peer(addr netip.AddrPort) *forwardPeer {
	if p := f.peers[addr]; p != nil {
		f.places.Touch(&p.place)
		return p
	}
	var home netip.Prefix
	if !addr.Addr().Unmap().IsLoopback() {
		home = gate.Home(addr.Addr())
	}
	if out, full := f.places.Full(home); full {
		f.drop(out.addr, out)
	}
	p := &forwardPeer{forward: f, addr: addr}
	p.client = f.client
	if f.client.ports.take(&p.innerPort, p) != nil {
		return nil
	}
	f.peers[addr] = p
	f.places.Add(&p.place, home, p)
	return p
}

// send sends datagrams of one application. f.mu is held.
func (p *forwardPeer) send(msgs []udpio.Message, now *moment) {
	p.active.note()
	l, target := p.forward.loop, p.forward.target.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range msgs {
		m := &msgs[i]
		to := target.to
		if target.host != nil {
			var kept bool
			if to, kept = p.toHost(target.host, to.Port(), m.Buf, m.TOS, now); kept {
				m.Buf = nil
				continue
			} else if !to.IsValid() {
				continue
			}
		}
		if p.wrap(m.Buf, to, m.TOS) {
			l.add(m.Buf)
			m.Buf = nil
		}
	}
	l.send(&p.inner)
}

// receive takes one packet from the tunnel to the application. Only the
// forward's destination may answer: the application cannot tell senders apart.
func (p *forwardPeer) receive(d *delivery, _, payload []byte) {
	f := p.forward
	t := f.target.Load()
	if d.udp.Src.Port() != t.to.Port() || t.host == nil && d.udp.Src.Addr() != t.to.Addr() {
		p.client.drops.add(dropSource)
		return
	}
	p.active.note()
	p.answered(d.udp.Src)
	d.w.Add(f.conn, p.addr, d.udp.TOS, payload)
}

// sweep ends the peers that were idle for forwardIdle sweeps.
func (f *forward) sweep() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for addr, p := range f.peers {
		if p.active.over(forwardIdle) {
			f.drop(addr, p)
		}
	}
}

// close ends the forward with all applications at it.
func (f *forward) close() {
	if f.ln != nil {
		f.ln.Close()
	} else {
		f.conn.Close()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	for addr, p := range f.peers {
		f.drop(addr, p)
	}
}

// drop ends one application. f.mu is held.
func (f *forward) drop(addr netip.AddrPort, p *forwardPeer) {
	delete(f.peers, addr)
	f.places.Remove(&p.place)
	p.end()
}

// count is the number of applications at the forward.
func (f *forward) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.peers)
}
