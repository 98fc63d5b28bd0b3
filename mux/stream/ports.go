package stream

import (
	"net/netip"
	"time"
	"unsafe"

	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	firstPort = 1024
	lastPort  = 65535
	// innerHosts is how many addresses the client has for streams: with the
	// ports of 16, a million, no rate of CONNECTs meets a guarded port.
	innerHosts = 16

	// A port pair is guarded for one to two of these turns after a reset at the
	// server, and after any end at the client, which chooses the ports: its
	// turn is twice as long, so that the server has forgotten first. 15 s is
	// far longer than a packet waits for reinjection.
	guardTurn = 15 * time.Second
	// Beyond this many a turn, further ones are not guarded: 2 MiB or so.
	guardMost = 32768
)

// ports hands out the client's addresses and ports inside the tunnel one
// after the other, so that each is used again as late as possible. The first
// address is kept as long as its ports suffice.
type ports struct {
	host int               // 0: packet.ClientHost4
	port int               // 0: none was taken yet
	full [innerHosts]int64 // when the last port of a host was taken; 0: never
}

// take returns a free local address for a stream to remote; the table's lock
// is held.
func (p *ports) take(t *Table, remote netip.AddrPort) (netip.AddrPort, bool) {
	if p.port == 0 {
		p.port = firstPort
	}
	for range innerHosts {
		for ; p.port <= lastPort; p.port++ {
			local := netip.AddrPortFrom(innerHost(remote.Addr(), p.host), uint16(p.port))
			k := keyOf(remote, local)
			if t.streams[k] == nil && !t.guard.has(k) {
				p.port++
				return local, true
			}
		}
		// The next round begins at the first host whose ports have rested.
		now := t.now.Load()
		p.full[p.host] = max(now, 1)
		next := (p.host + 1) % innerHosts
		for i, at := range p.full {
			if at == 0 || now-at > int64(4*guardTurn) {
				next = i
				break
			}
		}
		p.host, p.port = next, firstPort
	}
	return netip.AddrPort{}, false
}

func innerHost(like netip.Addr, n int) netip.Addr {
	a := packet.ClientHost4
	if like.Is6() {
		a = packet.ClientHost6
	}
	for range n {
		a = a.Next()
	}
	return a
}

// A guard remembers port pairs whose late packets must not meet a new
// stream (the purpose of TIME-WAIT, RFC 9293, Section 3.6.1). It is two
// generations of a set: no entry has a timer.
type guard struct {
	young, old map[packet.Key]struct{} // nil once no stream can come any more
	every      int64
	turned     int64
}

func (g *guard) init(client bool) {
	g.young = map[packet.Key]struct{}{}
	g.every = int64(guardTurn)
	if client {
		g.every *= 2
	}
}

func (g *guard) add(k packet.Key) {
	if g.young != nil && len(g.young) < guardMost {
		g.young[k] = struct{}{}
	}
}

func (g *guard) has(k packet.Key) bool {
	if _, ok := g.young[k]; ok {
		return true
	}
	_, ok := g.old[k]
	return ok
}

// memory is what it takes, about; a map has room for some more than it holds.
func (g *guard) memory() int64 {
	return int64(len(g.young)+len(g.old)) * 2 * int64(unsafe.Sizeof(packet.Key{}))
}

// end forgets all, for good.
func (g *guard) end() { g.young, g.old = nil, nil }

// turn forgets the old generation when it is time.
func (g *guard) turn(now int64) {
	if g.young == nil || now-g.turned < g.every {
		return
	}
	g.turned = now
	g.old, g.young = g.young, map[packet.Key]struct{}{}
}
