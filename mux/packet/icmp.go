package packet

import (
	"encoding/binary"
	"net/netip"
)

// The protocol numbers of ICMP, and the types that travel.
const (
	ProtoICMP  = 1
	ProtoICMP6 = 58

	icmpHeaderLen = 8 // RFC 792, RFC 4443 Section 4.1

	// echoOverhead4 and echoOverhead6 stand before the payload of an echo.
	echoOverhead4 = IPv4HeaderLen + icmpHeaderLen
	echoOverhead6 = IPv6HeaderLen + FragmentHeaderLen + icmpHeaderLen
	// MaxEcho4 and MaxEcho6 are the longest payloads that fit into one mapping.
	MaxEcho4 = 0xFFFF - echoOverhead4
	MaxEcho6 = 0xFFFF - echoOverhead6

	echoReply4, echoRequest4 = 0, 8
	echoRequest6, echoReply6 = 128, 129
	unreachable4, exceeded4  = 3, 11
	unreachable6, exceeded6  = 1, 3
	fragmentationNeeded      = 4 // code of unreachable4
	quoteLen                 = 8 // of what is behind the quoted IP header
)

// Echo is what a packet with an ICMP echo says besides its payload (RFC 792, RFC 4443
// Section 4).
type Echo struct {
	Src, Dst netip.Addr // of one family
	TOS, TTL uint8
	Bare     bool // IPv6 without a fragment header
	Reply    bool // or a request
	ID, Seq  uint16
}

// Overhead is how many bytes stand before the payload of a packet to h.Dst.
func (h *Echo) Overhead() int {
	switch {
	case is4(h.Dst):
		return echoOverhead4
	case h.Bare:
		return echoOverhead6 - FragmentHeaderLen
	}
	return echoOverhead6
}

// PutEcho writes the headers of an echo. b is the whole packet: Overhead bytes of room,
// and behind it the payload. It panics when b is longer than a packet can be.
func PutEcho(b []byte, h *Echo) {
	ip := ipHeader{src: h.Src, dst: h.Dst, tos: h.TOS, ttl: h.TTL, proto: ProtoICMP, bare: h.Bare}
	kind := byte(echoRequest4)
	if h.Reply {
		kind = echoReply4
	}
	if !is4(h.Dst) {
		ip.proto, kind = ProtoICMP6, echoRequest6
		if h.Reply {
			kind = echoReply6
		}
	}
	n, sum := ip.put(b)
	m := b[n:]
	m[0], m[1] = kind, 0
	binary.BigEndian.PutUint16(m[4:], h.ID)
	binary.BigEndian.PutUint16(m[6:], h.Seq)
	sumICMP(m, ip.proto, sum)
}

// sumICMP writes the checksum of an ICMP message; sum is that of the IP addresses.
func sumICMP(m []byte, proto uint8, sum uint64) {
	m[2], m[3] = 0, 0
	if proto != ProtoICMP6 {
		sum = 0 // no pseudo-header
	} else {
		sum += ProtoICMP6 + uint64(len(m))
	}
	binary.BigEndian.PutUint16(m[2:], Checksum(m, sum))
}

// parseICMP reads the IP header of the whole packet b, checks the message behind it, and
// returns that.
func parseICMP(b []byte, ip *ipHeader) (m []byte, err error) {
	n, sum, err := ip.parse(b)
	if err != nil {
		return nil, err
	}
	if four := b[0]>>4 == 4; four && ip.proto != ProtoICMP || !four && ip.proto != ProtoICMP6 {
		return nil, ErrProtocol
	}
	m = b[n:]
	if len(m) < icmpHeaderLen {
		return nil, ErrShort
	}
	if ip.proto == ProtoICMP {
		sum = 0
	} else {
		sum += ProtoICMP6 + uint64(len(m))
	}
	if Fold(Sum(m, sum)) != 0xFFFF {
		return nil, ErrChecksum
	}
	return m, nil
}

// ParseEcho reads the whole packet b, an echo request or reply, into h and returns the
// payload, a view into b. It is as strict as ParseUDP; other messages are ErrProtocol. h
// is undefined after an error.
func ParseEcho(b []byte, h *Echo) (payload []byte, err error) {
	var ip ipHeader
	m, err := parseICMP(b, &ip)
	if err != nil {
		return nil, err
	}
	switch {
	case m[1] != 0:
		return nil, ErrProtocol
	case ip.proto == ProtoICMP && m[0] == echoRequest4, ip.proto == ProtoICMP6 && m[0] == echoRequest6:
		h.Reply = false
	case ip.proto == ProtoICMP && m[0] == echoReply4, ip.proto == ProtoICMP6 && m[0] == echoReply6:
		h.Reply = true
	default:
		return nil, ErrProtocol
	}
	h.Src, h.Dst, h.TOS, h.TTL, h.Bare = ip.src, ip.dst, ip.tos, ip.ttl, ip.bare
	h.ID, h.Seq = binary.BigEndian.Uint16(m[4:]), binary.BigEndian.Uint16(m[6:])
	return m[icmpHeaderLen:], nil
}

// A Failure is an ICMP error about a packet of ours: it did not arrive, and why.
type Failure struct {
	From netip.Addr // who says it
	To   netip.Addr // whom; of one family
	// Type and Code are destination unreachable or time exceeded as the family numbers
	// them. What is too long for a path is not said: each end cuts for itself.
	Type, Code uint8
	Bare       bool // IPv6 without a fragment header

	// The packet: UDP, or an ICMP echo request whose identifier is the port of Src and
	// whose sequence number is that of Dst.
	Proto    uint8
	Src, Dst netip.AddrPort
}

// Why a packet did not arrive, in the numbers of its family.

// Prohibited sets that the packet's destination is not allowed (RFC 1812 Section
// 5.2.7.1, RFC 4443 Section 3.1).
func (f *Failure) Prohibited(v4 bool) {
	if f.Type, f.Code = unreachable6, 1; v4 {
		f.Type, f.Code = unreachable4, 13
	}
}

// NoPort sets that nobody listens at the packet's destination.
func (f *Failure) NoPort(v4 bool) {
	if f.Type, f.Code = unreachable6, 4; v4 {
		f.Type, f.Code = unreachable4, 3
	}
}

// Expired sets that the packet has passed as many routers as it wanted to.
func (f *Failure) Expired(v4 bool) {
	if f.Type, f.Code = exceeded6, 0; v4 {
		f.Type, f.Code = exceeded4, 0
	}
}

// Carried says whether an ICMP error of that type and code travels.
func Carried(v4 bool, kind, code uint8) bool {
	if v4 {
		return kind == unreachable4 && code != fragmentationNeeded && code <= 15 || kind == exceeded4 && code <= 1
	}
	return kind == unreachable6 && code <= 7 || kind == exceeded6 && code <= 1
}

// maxFailure is the length of the longest packet of a Failure.
const maxFailure = IPv6HeaderLen + FragmentHeaderLen + icmpHeaderLen + IPv6HeaderLen + quoteLen

// Len is the length of the packet of f.
func (f *Failure) Len() int {
	switch {
	case is4(f.To):
		return IPv4HeaderLen + icmpHeaderLen + IPv4HeaderLen + quoteLen
	case f.Bare:
		return maxFailure - FragmentHeaderLen
	}
	return maxFailure
}

// PutFailure writes f as a packet of f.Len bytes at the start of b. Of the packet that
// it is about it has the IP header and the eight bytes behind it.
func PutFailure(b []byte, f *Failure) {
	b = b[:f.Len()]
	four := is4(f.To)
	ip := ipHeader{src: f.From, dst: f.To, ttl: 64, proto: ProtoICMP, bare: f.Bare}
	if !four {
		ip.proto = ProtoICMP6
	}
	n, sum := ip.put(b)
	m := b[n:]
	m[0], m[1] = f.Type, f.Code
	clear(m[4:icmpHeaderLen])
	quoted := ipHeader{src: f.Src.Addr(), dst: f.Dst.Addr(), ttl: 1, proto: f.Proto, bare: true}
	at, _ := quoted.put(m[icmpHeaderLen:])
	q := m[icmpHeaderLen+at:]
	clear(q)
	if f.Proto == ProtoUDP {
		binary.BigEndian.PutUint16(q, f.Src.Port())
		binary.BigEndian.PutUint16(q[2:], f.Dst.Port())
		binary.BigEndian.PutUint16(q[4:], UDPHeaderLen)
	} else {
		q[0] = echoRequest6
		if four {
			q[0] = echoRequest4
		}
		binary.BigEndian.PutUint16(q[4:], f.Src.Port())
		binary.BigEndian.PutUint16(q[6:], f.Dst.Port())
	}
	sumICMP(m, ip.proto, sum)
}

// ParseFailure reads the whole packet b, an ICMP error as PutFailure writes it. What is
// no such error, or about another packet than one with UDP or an echo request, is
// ErrProtocol. f is undefined after an error.
func ParseFailure(b []byte, f *Failure) error {
	var ip ipHeader
	m, err := parseICMP(b, &ip)
	if err != nil {
		return err
	}
	four := ip.proto == ProtoICMP
	if !Carried(four, m[0], m[1]) {
		return ErrProtocol
	}
	*f = Failure{From: ip.src, To: ip.dst, Type: m[0], Code: m[1], Bare: ip.bare}
	var quoted ipHeader
	q := m[icmpHeaderLen:]
	n, _, err := quoted.parse(q)
	if err != nil {
		return err
	}
	if len(q) != n+quoteLen || four != (n == IPv4HeaderLen) || n > IPv6HeaderLen {
		return ErrLength
	}
	f.Proto = quoted.proto
	q = q[n:]
	var from, to uint16
	switch {
	case f.Proto == ProtoUDP:
		from, to = binary.BigEndian.Uint16(q), binary.BigEndian.Uint16(q[2:])
	case f.Proto == ProtoICMP && four && q[0] == echoRequest4, f.Proto == ProtoICMP6 && !four && q[0] == echoRequest6:
		from, to = binary.BigEndian.Uint16(q[4:]), binary.BigEndian.Uint16(q[6:])
	default:
		return ErrProtocol
	}
	f.Src, f.Dst = netip.AddrPortFrom(quoted.src, from), netip.AddrPortFrom(quoted.dst, to)
	return nil
}

// endsICMP returns the ports that an ICMP message counts as having: of an echo the
// identifier at the end that asks, and of others none.
func endsICMP(proto uint8, m []byte) (from, to uint16) {
	if len(m) < icmpHeaderLen {
		return 0, 0
	}
	id := binary.BigEndian.Uint16(m[4:])
	switch {
	case proto == ProtoICMP && m[0] == echoRequest4, proto == ProtoICMP6 && m[0] == echoRequest6:
		return id, 0
	case proto == ProtoICMP && m[0] == echoReply4, proto == ProtoICMP6 && m[0] == echoReply6:
		return 0, id
	}
	return 0, 0
}
