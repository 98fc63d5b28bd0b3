package client

import (
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// ICMP comes for programs behind TUN devices only: the answers to their echo requests, and
// what is said about what they have sent. SOCKS has no words for it.

// icmp takes a packet with ICMP to the program that it is for; false if it is no sound one.
func (l *downlink) icmp(pkt []byte) bool {
	var echo packet.Echo
	payload, err := packet.ParseEcho(pkt, &echo)
	if err == nil && echo.Reply {
		if p := l.enclave(netip.AddrPortFrom(echo.Dst, echo.ID)); p != nil && p.to.Echo != nil {
			p.received.Add(uint64(len(payload)))
			p.to.Echo(&echo, payload)
			l.received.Add(1)
		}
		return true
	}
	var f packet.Failure
	if err := packet.ParseFailure(pkt, &f); err != nil || f.To != f.Src.Addr() {
		return false
	}
	if p := l.enclave(f.Src); p != nil && p.to.Failure != nil {
		p.to.Failure(&f)
	}
	return true
}

// enclave returns the inner port of a program's socket, or nil. Others' are counted.
func (l *downlink) enclave(at netip.AddrPort) *enclavePort {
	p := l.client.ports.lookup(at)
	if p == nil {
		l.client.drops.add(dropNoPort)
		return nil
	}
	out, _ := p.owner.(*enclavePort)
	return out
}
