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
	p := d.ports.of(socket{at: netip.AddrPortFrom(n.src, binary.BigEndian.Uint16(m[4:])), echo: true}, netip.AddrPort{})
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

// maxQuote is how much of a packet an ICMP error quotes (RFC 1812, Section 4.3.2.3; RFC 4443
// would have more).
const maxQuote = 512

// unknown tells a program that the tunnel has no such protocol as a packet's, so that it does
// not wait for an answer: protocol unreachable (RFC 792), or the IPv6 header's unrecognized
// next header (RFC 4443, Section 3.4). It comes from where the packet was to go.
func (d *Device) unknown(b []byte, n *network) {
	const nothing = 59 // follows, of IPv6
	if n.dst.IsMulticast() || n.dst == broadcast || n.src.IsUnspecified() || n.src.IsMulticast() || n.proto == nothing {
		return // RFC 1122, Section 3.2.2
	}
	quote := b[:min(len(b), maxQuote)]
	head := packet.IPv4HeaderLen
	if n.src.Is6() {
		head = packet.IPv6HeaderLen
	}
	out := make([]byte, head+echoHeader+len(quote))
	m := out[head:]
	copy(m[echoHeader:], quote)
	if n.src.Is4() {
		m[0], m[1] = 3, 2
		binary.BigEndian.PutUint16(m[2:], ^packet.Fold(packet.Sum(m, 0)))
		out[0], out[8], out[9] = 0x45, 64, packet.ProtoICMP
		binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
		src, dst := n.dst.As4(), n.src.As4()
		copy(out[12:], src[:])
		copy(out[16:], dst[:])
		binary.BigEndian.PutUint16(out[10:], ^packet.Fold(packet.Sum(out[:head], 0)))
	} else {
		m[0], m[1] = 4, 1
		binary.BigEndian.PutUint32(m[4:], uint32(n.names))
		src, dst := n.dst.As16(), n.src.As16()
		sum := packet.Sum(dst[:], packet.Sum(src[:], packet.ProtoICMP6+uint64(len(m))))
		binary.BigEndian.PutUint16(m[2:], ^packet.Fold(packet.Sum(m, sum)))
		out[0], out[6], out[7] = 0x60, packet.ProtoICMP6, 64
		binary.BigEndian.PutUint16(out[4:], uint16(len(m)))
		copy(out[8:], src[:])
		copy(out[24:], dst[:])
	}
	d.n.failures.Add(1)
	d.give(out)
}

// give gives a packet to the kernel, and counts what it does not take.
func (d *Device) give(b []byte) {
	if !d.link.write(b) {
		d.n.full.Add(1)
	}
}
