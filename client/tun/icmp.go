package tun

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	echoHeader = 8 // RFC 792, RFC 4443 Section 4.1
	// echoIdle is how long an identifier keeps its inner port (RFC 5508, REQ-2).
	echoIdle = time.Minute
)

// echo sends an echo request on: the exit asks, and its answer is what the program
// gets. False if the packet is another message, or a wrong one.
func (d *Device) echo(b []byte, n *network) bool {
	m := b[n.header:n.total]
	if len(m) < echoHeader || n.dst.Is4() != (n.proto == packet.ProtoICMP) {
		return false
	}
	request, initial := byte(8), uint64(0)
	if n.proto == packet.ProtoICMP6 {
		request = 128
		s, t := n.src.As16(), n.dst.As16()
		initial = packet.Sum(t[:], packet.Sum(s[:], packet.ProtoICMP6+uint64(len(m))))
	}
	if m[0] != request || m[1] != 0 || packet.Fold(packet.Sum(m, initial)) != 0xFFFF {
		return false
	}
	payload := m[echoHeader:]
	if !answers(n.dst) || len(payload) > maxEcho(n.dst) {
		d.n.refused.Add(1)
		return true
	}
	p := d.ports.of(socket{at: netip.AddrPortFrom(n.src, binary.BigEndian.Uint16(m[4:])), echo: true})
	if p == nil {
		d.n.refused.Add(1)
		return true
	}
	w := buf.Get(len(payload))
	copy(w.Bytes(), payload)
	d.n.out.Add(1)
	p.port.Echo(w, n.dst, binary.BigEndian.Uint16(m[6:]), n.tos, n.ttl)
	return true
}

func maxEcho(to netip.Addr) int {
	if to.Is4() {
		return packet.MaxEcho4
	}
	return packet.MaxEcho6
}

// answers says whether a program may ask there: of the tunnel's own hosts only the server.
func answers(to netip.Addr) bool {
	if own4.Contains(to) || own6.Contains(to) {
		return to == packet.ServerHost4 || to == packet.ServerHost6
	}
	return !to.IsMulticast() && to != broadcast
}

// reply takes an answer to the program, with the identifier that it has asked with.
func (p *port) reply(h *packet.Echo, payload []byte) {
	if p.src.at.Addr().Is4() != h.Src.Is4() || !p.src.echo || h.TTL == 0 {
		p.device.n.malformed.Add(1)
		return
	}
	out := *h
	out.Dst, out.ID, out.Bare = p.src.at.Addr(), p.src.at.Port(), !h.Src.Is4()
	b := make([]byte, out.Overhead()+len(payload))
	copy(b[out.Overhead():], payload)
	packet.PutEcho(b, &out)
	p.device.n.in.Add(1)
	p.device.give(b)
}

// fail tells the program's system that something of the program's did not arrive.
func (p *port) fail(f *packet.Failure) {
	if p.src.at.Addr().Is4() != f.From.Is4() || p.src.echo == (f.Proto == packet.ProtoUDP) {
		p.device.n.malformed.Add(1)
		return
	}
	out := *f
	out.To, out.Src, out.Bare = p.src.at.Addr(), p.src.at, true
	if p.src.as.IsValid() { // it has not asked the resolver, as far as it knows
		out.Dst = p.src.as
	}
	b := make([]byte, out.Len())
	packet.PutFailure(b, &out)
	p.device.n.failures.Add(1)
	p.device.give(b)
}

// give gives a packet to the kernel, and counts what it does not take.
func (d *Device) give(b []byte) {
	if !d.link.write(b) {
		d.n.full.Add(1)
	}
}
