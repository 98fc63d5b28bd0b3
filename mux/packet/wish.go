package packet

import (
	"encoding/binary"
	"net/netip"
)

// WishPort is where the server hears what programs at the client ask for (UDP).
const WishPort = 12

// An End is a port of the client inside the tunnel, the same in both families: Host
// counts from the beginning of the tunnel's prefixes, so that ClientHost4 and ClientHost6
// are host 2.
type End struct {
	Proto uint8 // IP protocol; ICMP's is that of both families, and Port an identifier
	Host  uint16
	Port  uint16
}

// EndAt returns the End of an address inside the tunnel; false where it is none.
func EndAt(proto uint8, a netip.AddrPort) (e End, ok bool) {
	b := a.Addr().As16() // IPv4 is mapped
	return endOf(proto, &b, a.Port())
}

func endOf(proto uint8, b *[16]byte, port uint16) (e End, ok bool) {
	if proto == ProtoICMP6 {
		proto = ProtoICMP
	}
	e = End{proto, binary.BigEndian.Uint16(b[14:]), port}
	if b[0] == 0xFD {
		return e, b[1] == 0x6D && b[2] == 0x70 && b[3] == 0x73 && binary.BigEndian.Uint64(b[4:]) == 0 && b[12]|b[13] == 0
	}
	return e, *b == [16]byte{10: 0xFF, 11: 0xFF, 12: 198, 13: 18, 14: b[14], 15: b[15]}
}

// Inside returns the end of a flow that is the client's: the source of what the client
// sends, and the destination of what the server does.
func (k *Key) Inside(client bool) (e End, ok bool) {
	if client {
		return endOf(k.Proto, &k.Src, k.SrcPort)
	}
	return endOf(k.Proto, &k.Dst, k.DstPort)
}

// A Wish tells the server how what it sends to an End is to travel.
type Wish struct {
	At    End
	Class uint8  // WishNoClass, or a class's place in the protocol's list
	Paths uint32 // address IDs that alone may be used, a bit each; 0 = all
}

const (
	// WishLen is the length of a Wish.
	WishLen = 1 + 2 + 2 + 1 + 4
	// WishNoClass leaves the class to rules and to what the flow does.
	WishNoClass = 255
)

// Append appends the wish to b.
func (w *Wish) Append(b []byte) []byte {
	b = append(b, w.At.Proto)
	b = binary.BigEndian.AppendUint16(b, w.At.Host)
	b = binary.BigEndian.AppendUint16(b, w.At.Port)
	return binary.BigEndian.AppendUint32(append(b, w.Class), w.Paths)
}

// ParseWish reads a wish of WishLen bytes.
func ParseWish(b []byte) Wish {
	return Wish{
		At:    End{b[0], binary.BigEndian.Uint16(b[1:]), binary.BigEndian.Uint16(b[3:])},
		Class: b[5], Paths: binary.BigEndian.Uint32(b[6:]),
	}
}
