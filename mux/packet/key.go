package packet

import "encoding/binary"

// Key names a flow: the inner 5-tuple. IPv4 addresses are IPv4-mapped. It is
// comparable, so that it can be the key of a map.
type Key struct {
	Src, Dst         [16]byte
	SrcPort, DstPort uint16
	Proto            uint8
}

// KeyOf reads the flow of the packet b into k and says whether there is one.
// It trusts lengths only as far as it must to stay within b, and verifies no
// checksum. The ports are those of a UDP, TCP or other header that begins with
// them; fragments behind the first have ports 0. Of an ICMP echo the end that asks has its
// identifier for a port.
func KeyOf(b []byte, k *Key) bool {
	if len(b) < IPv4HeaderLen {
		return false
	}
	var n int
	first := true
	switch b[0] >> 4 {
	case 4:
		n = int(b[0]&0xF) * 4
		if n < IPv4HeaderLen {
			return false
		}
		first = binary.BigEndian.Uint16(b[6:])&0x1FFF == 0
		k.Proto = b[9]
		k.Src, k.Dst = mapped(b[12:16]), mapped(b[16:20])
	case 6:
		if len(b) < IPv6HeaderLen {
			return false
		}
		n = IPv6HeaderLen
		k.Proto = b[6]
		k.Src, k.Dst = [16]byte(b[8:]), [16]byte(b[24:])
		if k.Proto == protoFragment {
			if len(b) < IPv6HeaderLen+FragmentHeaderLen {
				return false
			}
			first = binary.BigEndian.Uint16(b[42:])&0xFFF8 == 0
			k.Proto = b[40]
			n += FragmentHeaderLen
		}
	default:
		return false
	}
	k.SrcPort, k.DstPort = 0, 0
	if k.Proto == ProtoICMP || k.Proto == ProtoICMP6 {
		if first && len(b) >= n {
			k.SrcPort, k.DstPort = endsICMP(k.Proto, b[n:])
		}
		return true
	}
	if first {
		if len(b) < n+4 {
			return false
		}
		k.SrcPort, k.DstPort = binary.BigEndian.Uint16(b[n:]), binary.BigEndian.Uint16(b[n+2:])
	}
	return true
}

func mapped(b []byte) (a [16]byte) {
	a[10], a[11] = 0xFF, 0xFF
	copy(a[12:], b)
	return a
}
