package client

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// The header of a SOCKS datagram, RFC 1928, Section 7:
//
//	+-----+------+------+----------+----------+----------+
//	| RSV | FRAG | ATYP | DST.ADDR | DST.PORT |   DATA   |
//	+-----+------+------+----------+----------+----------+
//	|  2  |  1   |  1   | variable |    2     | variable |
//	+-----+------+------+----------+----------+----------+
//
// RSV is ignored on receipt, as every implementation does, and sent as zero.

// Address types, RFC 1928, Section 5.
const (
	atypIPv4   = 1
	atypDomain = 3
	atypIPv6   = 4
)

const (
	headerLen4 = 4 + 4 + 2
	headerLen6 = 4 + 16 + 2
)

// Why a datagram's header is refused.
var (
	errHeaderShort = errors.New("datagram ends within its SOCKS header")
	errHeaderType  = errors.New("unknown address type in a SOCKS datagram")
	errHeaderName  = errors.New("empty name in a SOCKS datagram")
)

// header is a parsed SOCKS datagram header.
type header struct {
	frag uint8
	// to is the destination; its address is invalid when host is set, and never
	// IPv4-mapped.
	to netip.AddrPort
	// host is the domain name, borrowed from the datagram, or nil.
	host []byte
}

// parseHeader reads the header at the start of b into h and returns its length.
// The payload behind it may be empty: that is a legal datagram.
func parseHeader(b []byte, h *header) (int, error) {
	if len(b) < 4 {
		return 0, errHeaderShort
	}
	h.frag, h.host = b[2], nil
	switch b[3] {
	case atypIPv4:
		if len(b) < headerLen4 {
			return 0, errHeaderShort
		}
		h.to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[8:]))
		return headerLen4, nil
	case atypIPv6:
		if len(b) < headerLen6 {
			return 0, errHeaderShort
		}
		h.to = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[4:20])).Unmap(), binary.BigEndian.Uint16(b[20:]))
		return headerLen6, nil
	case atypDomain:
		if len(b) < 5 {
			return 0, errHeaderShort
		}
		n := int(b[4])
		if n == 0 {
			return 0, errHeaderName
		}
		if len(b) < 5+n+2 {
			return 0, errHeaderShort
		}
		h.host = b[5 : 5+n]
		h.to = netip.AddrPortFrom(netip.Addr{}, binary.BigEndian.Uint16(b[5+n:]))
		return 5 + n + 2, nil
	}
	return 0, errHeaderType
}

// headerLen is the length of the header that putHeader writes for addr.
func headerLen(addr netip.Addr) int {
	if addr.Is4() {
		return headerLen4
	}
	return headerLen6
}

// putHeader writes the header of a datagram from the given sender to the start
// of b, which must have headerLen bytes, RFC 1928, Section 7: the address in a
// reply is the true sender's.
func putHeader(b []byte, from netip.AddrPort) {
	b[0], b[1], b[2] = 0, 0, 0
	if from.Addr().Is4() {
		b[3] = atypIPv4
		a := from.Addr().As4()
		copy(b[4:8], a[:])
		binary.BigEndian.PutUint16(b[8:10], from.Port())
		return
	}
	b[3] = atypIPv6
	a := from.Addr().As16()
	copy(b[4:20], a[:])
	binary.BigEndian.PutUint16(b[20:22], from.Port())
}
