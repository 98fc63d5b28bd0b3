package tun

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	// maxPorts bounds the sockets of programs behind one device; when all are taken whoever
	// has most gives way. A resolver that takes a new one for each question uses some hundreds
	// within idleAfter.
	maxPorts = 8192
	// idleAfter is how long a port lives without a datagram from its program
	// (RFC 4787, REQ-5); the kernel does not tell us when a socket is closed.
	idleAfter = 5 * time.Minute
	// shortIdle is the same for a port with a single question to a resolver.
	shortIdle = 30 * time.Second
	// sweepEvery is how often idle ports are looked for.
	sweepEvery = 30 * time.Second
	// lookShare is what part of the ports one look finds for those that need room.
	lookShare = 32
)

// ports are the inner ports of a device, one for each socket of its programs,
// whatever that sends to: endpoint-independent mapping (RFC 4787, REQ-1).
type ports struct {
	device *Device // set once

	mu    sync.Mutex // guards all following fields
	bySrc map[socket]*port
	held  map[Holder]int // how many of them are whose
	last  *port
	idle  []idlePort // what the last look has found, the oldest first
	looks int        // at all ports
	ended bool
}

// idlePort is a port, and when it was used last when it was looked at.
type idlePort struct {
	port *port
	used int64
}

// A socket is one of a program's, or an identifier of its echo requests.
type socket struct {
	at   netip.AddrPort // of echo requests the port is the identifier
	echo bool
	as   netip.AddrPort // the name server that it asks, if another answers in its place
}

// port is one of them.
type port struct {
	device *Device
	src    socket
	who    Holder
	port   Port         // set before anything can come for it
	active atomic.Int64 // when the program last sent, ns since start
	sent   atomic.Uint32
	room   atomic.Int32 // for an answer of the resolver in the tunnel, by the newest question
}

var start = time.Now()

// of returns the port of a socket that sends there, a new one if need be; nil when none is left.
func (t *ports) of(src socket, to netip.AddrPort) *port {
	now := int64(time.Since(start))
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.last
	if p == nil || p.src != src {
		if p = t.bySrc[src]; p == nil {
			if p = t.open(src, to, now); p == nil {
				return nil
			}
		}
		t.last = p
	}
	p.active.Store(now)
	p.sent.Add(1)
	return p
}

// open makes a port; t.mu is held. When the table is full, of whoever has most the one that has
// been idle the longest goes.
func (t *ports) open(src socket, to netip.AddrPort, now int64) *port {
	if t.ended {
		return nil
	}
	if len(t.bySrc) >= maxPorts {
		t.evict(now)
	}
	p := &port{device: t.device, src: src, who: Holder{Host: src.at.Addr()}}
	if !src.echo { // the system does not tell whose those are
		if src.as.IsValid() {
			to = src.as
		}
		p.who = HolderOf(t.device.tunnel.Owner, packet.ProtoUDP, src.at, to)
	}
	inner, err := t.device.tunnel.Open(p.who, Sink{UDP: p.receive, Echo: p.reply, Failure: p.fail})
	if err != nil {
		return nil
	}
	p.port = inner
	t.bySrc[src] = p
	if t.held == nil {
		t.held = make(map[Holder]int)
	}
	t.held[p.who]++
	return p
}

// tidying closes the ports that are idle every so often, whether packets come or not, until stop
// is called, which waits for its goroutine.
func (t *ports) tidying() (stop func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				t.tidy()
			case <-over:
				return
			}
		}
	}()
	return func() { close(over); <-ended }
}

// tidy closes the ports that are idle.
func (t *ports) tidy() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(int64(time.Since(start)))
}

// sweep is tidy; t.mu is held.
func (t *ports) sweep(now int64) {
	for src, p := range t.bySrc {
		limit := int64(idleAfter)
		switch {
		case src.echo:
			limit = int64(echoIdle)
		case p.sent.Load() == 1:
			limit = int64(shortIdle)
		}
		if now-p.active.Load() > limit {
			t.drop(src, p)
		}
	}
}

// evict makes room: those that are idle too long go, or else, of whoever has most, the one that was
// used the longest time ago. All of them are looked at for many at a time: each look would cost a
// program that has thousands of sockets little, and all the others the time of the device. t.mu
// is held.
func (t *ports) evict(now int64) {
	for {
		for len(t.idle) > 0 {
			o := t.idle[0]
			t.idle = t.idle[1:]
			much := t.held[o.port.who]*len(t.held) >= len(t.bySrc) // others may have more by now
			if much && t.bySrc[o.port.src] == o.port && o.port.active.Load() == o.used {
				t.drop(o.port.src, o.port)
				return
			}
		}
		if t.sweep(now); len(t.bySrc) < maxPorts {
			return
		}
		t.looks++
		var most Holder
		for who, n := range t.held {
			if n > t.held[most] {
				most = who
			}
		}
		for _, p := range t.bySrc {
			if p.who == most {
				t.idle = append(t.idle, idlePort{p, p.active.Load()})
			}
		}
		slices.SortFunc(t.idle, func(a, b idlePort) int { return cmp.Compare(a.used, b.used) })
		t.idle = slices.Clone(t.idle[:max(len(t.idle)/lookShare, 1)])
	}
}

// drop forgets a port; the caller holds t.mu.
func (t *ports) drop(src socket, p *port) {
	delete(t.bySrc, src)
	if t.held[p.who]--; t.held[p.who] == 0 {
		delete(t.held, p.who)
	}
	if t.last == p {
		t.last = nil
	}
	p.port.Close()
}

func (t *ports) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.bySrc)
}

// end closes all ports; none are opened afterwards.
func (t *ports) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	for src, p := range t.bySrc {
		t.drop(src, p)
	}
}

// receive takes a packet from the tunnel to the program: the inner address
// becomes the program's, in place. It may run at the same time as itself, with another batch.
func (p *port) receive(batch *Batch, h *packet.UDP, pkt, payload []byte) {
	out := *h
	out.Dst = p.src.at
	if p.src.at.Addr().Is4() != h.Src.Addr().Is4() || p.src.echo || h.TTL == 0 {
		p.device.n.malformed.Add(1)
		return
	}
	asked := resolver(h.Src)
	if p.src.as.IsValid() {
		if !asked {
			p.device.n.refused.Add(1)
			return
		}
		out.Src = p.src.as
	}
	if asked {
		answer := fit(payload, max(leastRoom, int(p.room.Load())))
		pkt, payload = pkt[:len(pkt)-len(payload)+len(answer)], answer
	}
	// No fragment header, which is only needed inside the tunnel.
	room := packet.UDP4Overhead
	if !h.Src.Addr().Is4() {
		out.Bare = true
		room = packet.UDP6Overhead - packet.FragmentHeaderLen
	}
	p.device.n.in.Add(1)
	batch.add(p.device, &out, pkt[len(pkt)-len(payload)-room:], payload)
}
