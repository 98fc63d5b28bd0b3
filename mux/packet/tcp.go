package packet

import (
	"encoding/binary"
	"net/netip"
)

const (
	// TCPHeaderLen is the length without options.
	TCPHeaderLen = 20
	// MaxTCPOptions is what the data offset leaves for options.
	MaxTCPOptions = 40
)

// TCP flags (RFC 9293, Section 3.1).
const (
	FlagFIN = 0x01
	FlagSYN = 0x02
	FlagRST = 0x04
	FlagPSH = 0x08
	FlagACK = 0x10
	FlagURG = 0x20
	FlagECE = 0x40
	FlagCWR = 0x80
)

// TCP is what a packet with a TCP segment says besides its payload.
type TCP struct {
	Src, Dst netip.AddrPort // of one family; IPv4-mapped addresses are sent as IPv4
	Seq, Ack uint32
	Flags    uint8
	Window   uint16
	TOS, TTL uint8
	Bare     bool   // IPv6 without a fragment header
	ID       uint32 // as in UDP
	// Unsummed has PutTCP leave the checksum 0, for SumTCP; ParseTCP does not look.
	Unsummed bool
	// Options is at most MaxTCPOptions bytes. PutTCP pads it with NOPs to a
	// multiple of four; ParseTCP borrows it from the packet, padding included.
	Options []byte
}

// TCPOverhead returns how many bytes of headers stand before the payload of a
// segment to dst with optionsLen bytes of options. A Bare one has
// FragmentHeaderLen less on IPv6.
func TCPOverhead(dst netip.Addr, optionsLen int) int {
	n := TCPHeaderLen + (optionsLen+3)&^3
	if is4(dst) {
		return IPv4HeaderLen + n
	}
	return IPv6HeaderLen + FragmentHeaderLen + n
}

// PutTCP writes the headers of a packet. b is the whole packet: TCPOverhead
// bytes of room, and behind it the payload. It panics when the options or the
// packet are longer than the headers can say.
func PutTCP(b []byte, h *TCP) {
	if len(h.Options) > MaxTCPOptions {
		panic("packet: too many TCP options")
	}
	ip := ipHeader{
		src: h.Src.Addr(), dst: h.Dst.Addr(), tos: h.TOS, ttl: h.TTL, proto: ProtoTCP, bare: h.Bare, id: h.ID,
	}
	n, sum := ip.put(b)
	t := b[n:]
	_ = t[TCPHeaderLen-1]
	binary.BigEndian.PutUint32(t[0:], uint32(h.Src.Port())<<16|uint32(h.Dst.Port()))
	binary.BigEndian.PutUint32(t[4:], h.Seq)
	binary.BigEndian.PutUint32(t[8:], h.Ack)
	end := TCPHeaderLen + (len(h.Options)+3)&^3
	binary.BigEndian.PutUint32(t[12:], uint32(end)<<26|uint32(h.Flags)<<16|uint32(h.Window))
	binary.BigEndian.PutUint32(t[16:], 0)
	for i := TCPHeaderLen + copy(t[TCPHeaderLen:end], h.Options); i < end; i++ {
		t[i] = 1 // NOP
	}
	if !h.Unsummed {
		binary.BigEndian.PutUint16(t[16:], Checksum(t, sum+ProtoTCP+uint64(len(t))))
	}
}

// SumTCP writes the checksum into the whole packet b, whatever stands there. It leaves what
// is no TCP packet alone.
func SumTCP(b []byte) {
	var ip ipHeader
	n, sum, err := ip.parse(b)
	if err != nil || ip.proto != ProtoTCP || len(b)-n < TCPHeaderLen {
		return
	}
	t := b[n:]
	binary.BigEndian.PutUint16(t[16:], 0)
	binary.BigEndian.PutUint16(t[16:], Checksum(t, sum+ProtoTCP+uint64(len(t))))
}

// ParseTCP reads the whole packet b into h and returns the payload; both it
// and h.Options are views into b. It is as strict as ParseUDP, but for the checksum of
// TCP, which it leaves to the TLS around it: to sum what was just authenticated is a
// tenth of what receiving costs. The urgent pointer and reserved bits are ignored. h is
// undefined after an error.
func ParseTCP(b []byte, h *TCP) (payload []byte, err error) {
	var ip ipHeader
	n, _, err := ip.parse(b)
	if err != nil {
		return nil, err
	}
	if ip.proto != ProtoTCP {
		return nil, ErrProtocol
	}
	t := b[n:]
	if len(t) < TCPHeaderLen {
		return nil, ErrShort
	}
	end := int(t[12]>>4) * 4
	if end < TCPHeaderLen || end > len(t) {
		return nil, ErrLength
	}
	h.Src = netip.AddrPortFrom(ip.src, binary.BigEndian.Uint16(t[0:]))
	h.Dst = netip.AddrPortFrom(ip.dst, binary.BigEndian.Uint16(t[2:]))
	h.Seq, h.Ack = binary.BigEndian.Uint32(t[4:]), binary.BigEndian.Uint32(t[8:])
	h.Flags, h.Window = t[13], binary.BigEndian.Uint16(t[14:])
	h.TOS, h.TTL, h.Bare, h.ID = ip.tos, ip.ttl, ip.bare, ip.id
	h.Options = t[TCPHeaderLen:end]
	return t[end:], nil
}
