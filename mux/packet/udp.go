package packet

import (
	"encoding/binary"
	"net/netip"
)

const (
	UDPHeaderLen = 8
	UDP4Overhead = IPv4HeaderLen + UDPHeaderLen                     // 28
	UDP6Overhead = IPv6HeaderLen + FragmentHeaderLen + UDPHeaderLen // 56

	// MaxUDP4Payload is what fits beside the headers into a total length of
	// 65,535.
	MaxUDP4Payload = 0xFFFF - UDP4Overhead // 65,507
	// MaxUDP6Payload is what fits beside the UDP header into a payload length
	// of 65,535, when the fragment header is left out.
	MaxUDP6Payload = 0xFFFF - UDPHeaderLen // 65,527
	// maxAtomicPayload is the same with the fragment header.
	maxAtomicPayload = MaxUDP6Payload - FragmentHeaderLen // 65,519
)

// UDP is what a packet with a UDP datagram says besides its payload.
type UDP struct {
	Src, Dst netip.AddrPort // of one family; IPv4-mapped addresses are sent as IPv4
	TOS      uint8          // DSCP and ECN; the traffic class of IPv6
	TTL      uint8          // the hop limit of IPv6
	// Bare is set on an IPv6 packet without a fragment header, which is the
	// only way to carry a payload over 65,519 bytes. ID is then 0.
	Bare bool
	// ID is the Identification: its lower half on IPv4, the one of the
	// fragment header on IPv6.
	ID uint32
}

// UDPOverhead returns how many bytes of headers stand before the payload of a
// packet to dst: 28 or 56. It holds for every payload but IPv6 ones over
// 65,519 bytes: see UDP.Overhead.
func UDPOverhead(dst netip.Addr) int {
	if is4(dst) {
		return UDP4Overhead
	}
	return UDP6Overhead
}

// Overhead returns how many bytes of headers stand before a payload of n bytes
// to h.Dst, and sets h.Bare as the payload demands it.
func (h *UDP) Overhead(n int) int {
	h.Bare = n > maxAtomicPayload && !is4(h.Dst.Addr())
	if h.Bare {
		return UDP6Overhead - FragmentHeaderLen
	}
	return UDPOverhead(h.Dst.Addr())
}

// Fits says whether a datagram to h.Dst can have a payload of n bytes.
func (h *UDP) Fits(n int) bool {
	if is4(h.Dst.Addr()) {
		return n <= MaxUDP4Payload
	}
	return n <= MaxUDP6Payload
}

// Long says whether a payload of n bytes to h.Dst has to be cut in two (SplitUDP): the
// Data-Level Length of a mapping ends at 65,535 (RFC 8684, Section 3.3.1). The
// Identification joins them at the other end, where ports do not count, so that h.ID has to
// be unique between two hosts.
func (h *UDP) Long(n int) bool { return n > MaxWhole6 && !is4(h.Dst.Addr()) }

// PutUDP writes the headers of a packet. b is the whole packet: UDPOverhead
// bytes of room (or what h.Overhead said), and behind it the payload. It panics
// when b is longer than such a packet can be.
func PutUDP(b []byte, h *UDP) {
	ip := ipHeader{
		src: h.Src.Addr(), dst: h.Dst.Addr(), tos: h.TOS, ttl: h.TTL, proto: ProtoUDP, bare: h.Bare, id: h.ID,
	}
	n, sum := ip.put(b)
	u := b[n:]
	_ = u[UDPHeaderLen-1]
	// The length is summed twice: it is in the pseudo-header and in the header.
	sum += ProtoUDP + 2*uint64(len(u)) + uint64(h.Src.Port()) + uint64(h.Dst.Port())
	c := Checksum(u[UDPHeaderLen:], sum)
	if c == 0 { // 0 would say that there is no checksum (RFC 768)
		c = 0xFFFF
	}
	binary.BigEndian.PutUint32(u[0:], uint32(h.Src.Port())<<16|uint32(h.Dst.Port()))
	binary.BigEndian.PutUint32(u[4:], uint32(len(u))<<16|uint32(c))
}

// ParseUDP reads the whole packet b into h and returns the payload, a view
// into b. It is strict: every length must agree with len(b), both checksums
// must match (a UDP checksum of 0 is an absent one on IPv4 and wrong on IPv6),
// IPv4 options and fragments are refused. h is undefined after an error.
func ParseUDP(b []byte, h *UDP) (payload []byte, err error) {
	var ip ipHeader
	n, sum, err := ip.parse(b)
	if err != nil {
		return nil, err
	}
	if ip.proto != ProtoUDP {
		return nil, ErrProtocol
	}
	u := b[n:]
	if len(u) < UDPHeaderLen {
		return nil, ErrShort
	}
	if int(binary.BigEndian.Uint16(u[4:])) != len(u) {
		return nil, ErrLength
	}
	if u[6]|u[7] != 0 {
		if Fold(Sum(u, sum+ProtoUDP+uint64(len(u)))) != 0xFFFF {
			return nil, ErrChecksum
		}
	} else if n != IPv4HeaderLen {
		return nil, ErrChecksum
	}
	h.Src = netip.AddrPortFrom(ip.src, binary.BigEndian.Uint16(u[0:]))
	h.Dst = netip.AddrPortFrom(ip.dst, binary.BigEndian.Uint16(u[2:]))
	h.TOS, h.TTL, h.Bare, h.ID = ip.tos, ip.ttl, ip.bare, ip.id
	return u[UDPHeaderLen:], nil
}
