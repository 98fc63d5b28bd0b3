package client

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// noRoom is what a person reads when a port was refused, seldom.
const noRoom = "the server has no room for another program's datagrams: the limit of mappings or of its file descriptors is reached"

// refusalTime is for how long a port has to be refused before its association ends: the
// server hears of ports that have ended up to two endTicks later, and may have room then.
const refusalTime = 4 * endTick

// takeRefusals takes the server's news of ports that get no mapping there: a list as that of
// ended ports, from the same port of the server's. An association that tries on ends,
// which is how SOCKS tells a program (RFC 1928, Section 7); it would wait for answers in
// vain. It returns false if the packet is something else. It may be called with the
// tunnel's locks held: what it closes is closed by those who watch it.
func takeRefusals(c *Client, h *packet.UDP, payload []byte, now time.Time) bool {
	from, to := packet.ServerHost4, packet.ClientHost4
	if h.Dst.Addr().Is6() {
		from, to = packet.ServerHost6, packet.ClientHost6
	}
	if h.Src != netip.AddrPortFrom(from, packet.DiscardPort) || h.Dst != netip.AddrPortFrom(to, packet.DiscardPort) {
		return false
	}
	n := to.BitLen() / 8
	for ; len(payload) >= n+2; payload = payload[n+2:] {
		addr, _ := netip.AddrFromSlice(payload[:n])
		p := c.ports.lookup(netip.AddrPortFrom(addr, binary.BigEndian.Uint16(payload[n:])))
		if p == nil {
			continue
		}
		if a, ok := p.owner.(*association); ok {
			a.mu.Lock()
			ends := a.refusal.again(now, a.received.Load())
			a.mu.Unlock()
			if ends {
				_ = a.control.Close() // watch does the rest
			}
		}
		c.words.Say(noRoom)
	}
	return true
}

// A refusal is what an association knows of its own.
type refusal struct {
	since time.Time
	got   uint64 // bytes that had come for it by then
}

// again notes a refusal, and says whether the association is to end: it was refused
// before, and for long enough, and got no answer in between.
func (r *refusal) again(now time.Time, got uint64) bool {
	if r.since.IsZero() || r.got != got {
		*r = refusal{now, got}
		return false
	}
	return now.Sub(r.since) >= refusalTime
}
