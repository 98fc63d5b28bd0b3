// Package packet builds and reads the packets of the tunnel: whole IPv4 and
// IPv6 packets with UDP or TCP inside, written in place around a payload that
// already lies where it belongs. It is pure: no I/O, no clock, no allocation,
// nothing of the rest of mpsocks.
//
//	IPv4  | IP 20 |           UDP 8 | payload
//	IPv6  | IP 40 | fragment 8 | UDP 8 | payload
//
// IPv4 headers have no options and DF is set. IPv6 packets carry an atomic
// fragment header (RFC 6946: offset 0, no more fragments) for the sake of its
// Identification, which counts the packets of a flow as the IPv4 one does.
//
// The senders at both ends of the tunnel call PutUDP and PutTCP with a packet
// that they own; ParseUDP and ParseTCP return views into the packet.
package packet

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Header lengths in bytes, and the protocol numbers that we carry.
const (
	IPv4HeaderLen     = 20
	IPv6HeaderLen     = 40
	FragmentHeaderLen = 8

	ProtoTCP      = 6
	ProtoUDP      = 17
	protoFragment = 44
)

// Why a packet is refused. None of these is wrapped or allocated.
var (
	ErrShort    = errors.New("packet: shorter than its headers")
	ErrVersion  = errors.New("packet: neither IPv4 nor IPv6")
	ErrHeader   = errors.New("packet: IPv4 options or a header length below 20")
	ErrLength   = errors.New("packet: length fields disagree with the packet")
	ErrFragment = errors.New("packet: a fragment")
	ErrProtocol = errors.New("packet: not the expected protocol")
	// ErrMapped: no IPv6 packet has IPv4-mapped addresses (RFC 4291, Section 2.5.5.2), and what
	// is made for one, an answer say, would be of two families.
	ErrMapped   = errors.New("packet: an IPv4-mapped address in an IPv6 header")
	ErrChecksum = errors.New("packet: checksum does not match")
)

// is4 says whether an address is carried in IPv4; IPv4-mapped ones are.
func is4(a netip.Addr) bool { return a.Is4() || a.Is4In6() }

// Length returns the total length that the IP header at the start of b states;
// b may be shorter or longer than the packet. The error is ErrShort when b
// ends before the length field does, ErrVersion, or ErrLength when the packet
// would be shorter than its header.
func Length(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, ErrShort
	}
	switch b[0] >> 4 {
	case 4:
		if len(b) < 4 {
			return 0, ErrShort
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < IPv4HeaderLen {
			return 0, ErrLength
		}
		return n, nil
	case 6:
		if len(b) < 6 {
			return 0, ErrShort
		}
		return IPv6HeaderLen + int(binary.BigEndian.Uint16(b[4:])), nil
	}
	return 0, ErrVersion
}

// ipHeader is what building and parsing share of both IP versions.
type ipHeader struct {
	src, dst netip.Addr
	tos, ttl uint8
	proto    uint8
	bare     bool // IPv6 without the fragment header
	id       uint32
}

// put writes the header at the start of b, which is the whole packet, and
// returns the header's length and the sum of the addresses for the checksum of
// the transport.
func (h *ipHeader) put(b []byte) (n int, sum uint64) {
	if is4(h.dst) {
		if len(b) > 0xFFFF {
			panic("packet: longer than an IPv4 packet can be")
		}
		// The checksum is summed up from the values: reading back what was
		// just written in other sizes would stall.
		from, to := h.src.As4(), h.dst.As4()
		src, dst := binary.BigEndian.Uint32(from[:]), binary.BigEndian.Uint32(to[:])
		w0 := 0x45<<24 | uint32(h.tos)<<16 | uint32(len(b))
		w1 := h.id<<16 | 0x4000 // DF
		w2 := uint32(h.ttl)<<24 | uint32(h.proto)<<16
		sum = uint64(src) + uint64(dst)
		w2 |= uint32(^Fold(sum + uint64(w0) + uint64(w1) + uint64(w2)))
		_ = b[IPv4HeaderLen-1]
		binary.BigEndian.PutUint32(b[0:], w0)
		binary.BigEndian.PutUint32(b[4:], w1)
		binary.BigEndian.PutUint32(b[8:], w2)
		binary.BigEndian.PutUint32(b[12:], src)
		binary.BigEndian.PutUint32(b[16:], dst)
		return IPv4HeaderLen, sum
	}
	if len(b)-IPv6HeaderLen > 0xFFFF {
		panic("packet: longer than an IPv6 packet can be")
	}
	src, dst := h.src.As16(), h.dst.As16()
	_ = b[IPv6HeaderLen-1]
	binary.BigEndian.PutUint32(b[0:], 6<<28|uint32(h.tos)<<20)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-IPv6HeaderLen))
	b[6], b[7] = h.proto, h.ttl
	copy(b[8:24], src[:])
	copy(b[24:40], dst[:])
	n = IPv6HeaderLen
	if !h.bare {
		b[6] = protoFragment
		binary.BigEndian.PutUint32(b[40:], uint32(h.proto)<<24)
		binary.BigEndian.PutUint32(b[44:], h.id)
		n += FragmentHeaderLen
	}
	return n, addrSum6(b)
}

// parse reads the header of the whole packet b, strictly, and returns its
// length and the sum of the addresses for the checksum of the transport.
func (h *ipHeader) parse(b []byte) (n int, sum uint64, err error) {
	if len(b) < IPv4HeaderLen {
		return 0, 0, ErrShort
	}
	if b[0]>>4 == 4 {
		switch {
		case b[0] != 0x45:
			return 0, 0, ErrHeader
		case int(binary.BigEndian.Uint16(b[2:])) != len(b):
			return 0, 0, ErrLength
		case binary.BigEndian.Uint16(b[6:])&0x3FFF != 0: // more fragments, or an offset
			return 0, 0, ErrFragment
		}
		sum = addrSum4(b)
		if Fold(sum+fold32(binary.BigEndian.Uint64(b[0:]))+uint64(binary.BigEndian.Uint32(b[8:]))) != 0xFFFF {
			return 0, 0, ErrChecksum
		}
		h.src, h.dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		h.tos, h.ttl, h.proto, h.bare = b[1], b[8], b[9], false
		h.id = uint32(binary.BigEndian.Uint16(b[4:]))
		return IPv4HeaderLen, sum, nil
	}
	if b[0]>>4 != 6 {
		return 0, 0, ErrVersion
	}
	if len(b) < IPv6HeaderLen {
		return 0, 0, ErrShort
	}
	if int(binary.BigEndian.Uint16(b[4:]))+IPv6HeaderLen != len(b) {
		return 0, 0, ErrLength
	}
	h.src, h.dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	if h.src.Is4In6() || h.dst.Is4In6() {
		return 0, 0, ErrMapped
	}
	h.tos, h.ttl, h.proto = b[0]<<4|b[1]>>4, b[7], b[6]
	h.bare, h.id = true, 0
	n = IPv6HeaderLen
	if h.proto == protoFragment {
		if len(b) < IPv6HeaderLen+FragmentHeaderLen {
			return 0, 0, ErrShort
		}
		if binary.BigEndian.Uint16(b[42:])&0xFFF9 != 0 {
			return 0, 0, ErrFragment
		}
		h.proto, h.id, h.bare = b[40], binary.BigEndian.Uint32(b[44:]), false
		n += FragmentHeaderLen
	}
	return n, addrSum6(b), nil
}
