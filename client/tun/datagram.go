package tun

import (
	"encoding/binary"
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// datagram is what a packet with UDP from a device says.
type datagram struct {
	src, dst netip.AddrPort
	tos, ttl uint8
	payload  int // where it begins,
	end      int // and where it ends: an IP packet may be longer (RFC 9868, Section 3)
}

// network is the IP header of a packet from a device, as far as it matters.
type network struct {
	proto    uint8
	tos, ttl uint8
	fragment bool
	src, dst netip.Addr
	header   int // its length, options and extension headers included
	names    int // where proto stands
	total    int
}

// maxExtensions bounds the extension headers of IPv6 that are skipped.
const maxExtensions = 8

// parse reads an IP header; false if the packet is none. What it says of
// lengths is checked against b.
func (n *network) parse(b []byte) bool {
	if len(b) < packet.IPv4HeaderLen {
		return false
	}
	switch b[0] >> 4 {
	case 4:
		return n.parse4(b)
	case 6:
		return n.parse6(b)
	}
	return false
}

func (n *network) parse4(b []byte) bool {
	n.header, n.total = int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	// A segment that is to be cut may say 0: it is as long as it is.
	if n.total == 0 {
		n.total = len(b)
	}
	if n.header < packet.IPv4HeaderLen || n.header > n.total || n.total > len(b) {
		return false
	}
	n.tos, n.ttl, n.proto = b[1], b[8], b[9]
	n.fragment = binary.BigEndian.Uint16(b[6:])&0x3FFF != 0
	n.src, n.dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	return true
}

func (n *network) parse6(b []byte) bool {
	if len(b) < packet.IPv6HeaderLen {
		return false
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	n.header, n.total = packet.IPv6HeaderLen, packet.IPv6HeaderLen+length
	if length == 0 { // a jumbo that the kernel made of many segments
		n.total = len(b)
	}
	if n.total > len(b) {
		return false
	}
	n.tos, n.ttl, n.proto, n.names = b[0]<<4|b[1]>>4, b[7], b[6], 6
	n.src, n.dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	if n.src.Is4In6() || n.dst.Is4In6() { // no packet has them (RFC 4291, Section 2.5.5.2)
		return false
	}
	n.fragment = false
	for range maxExtensions {
		switch n.proto {
		case 0, 43, 60: // hop-by-hop, routing, destination options (RFC 8200, Section 4)
			if n.header+8 > n.total {
				return false
			}
			n.proto, n.names, n.header = b[n.header], n.header, n.header+8+8*int(b[n.header+1])
			if n.header > n.total {
				return false
			}
		case 44: // fragment
			if n.header+8 > n.total {
				return false
			}
			n.fragment = binary.BigEndian.Uint16(b[n.header+2:])&^6 != 0
			n.proto, n.names, n.header = b[n.header], n.header, n.header+8
			if n.fragment {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// parse reads the UDP header behind n. summed says that the checksum is to be
// checked: the kernel's own, unfinished ones need not.
func (d *datagram) parse(b []byte, n *network, summed bool) bool {
	u := b[n.header:n.total]
	if len(u) < packet.UDPHeaderLen {
		return false
	}
	length := int(binary.BigEndian.Uint16(u[4:]))
	if length == 0 {
		length = len(u)
	}
	if length < packet.UDPHeaderLen || length > len(u) {
		return false
	}
	u = u[:length]
	if summed && u[6]|u[7] != 0 && packet.Fold(packet.Sum(u, pseudo(n, length))) != 0xFFFF {
		return false
	}
	if summed && u[6]|u[7] == 0 && n.dst.Is6() { // RFC 8200, Section 8.1
		return false
	}
	d.src = netip.AddrPortFrom(n.src, binary.BigEndian.Uint16(u[0:]))
	d.dst = netip.AddrPortFrom(n.dst, binary.BigEndian.Uint16(u[2:]))
	d.tos, d.ttl = n.tos, n.ttl
	d.payload, d.end = n.header+packet.UDPHeaderLen, n.header+length
	return true
}

// pseudo is the sum of the pseudo-header of UDP (RFC 768, RFC 8200 Section 8.1).
func pseudo(n *network, length int) uint64 {
	sum := uint64(packet.ProtoUDP) + uint64(length)
	if n.src.Is4() {
		s, d := n.src.As4(), n.dst.As4()
		return packet.Sum(d[:], packet.Sum(s[:], sum))
	}
	s, d := n.src.As16(), n.dst.As16()
	return packet.Sum(d[:], packet.Sum(s[:], sum))
}
