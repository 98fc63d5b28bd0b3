package packet

import "encoding/binary"

// These read and change single fields of packets. They are meant for packets
// that are known to be whole, but what a hostile peer calls a packet does not
// make them panic either: where there is no such field, it is 0.

// TOS returns DSCP and ECN.
func TOS(b []byte) uint8 {
	switch {
	case len(b) < IPv4HeaderLen:
		return 0
	case b[0]>>4 == 4:
		return b[1]
	}
	return b[0]<<4 | b[1]>>4
}

// Proto returns the transport protocol.
func Proto(b []byte) uint8 {
	switch {
	case len(b) < IPv4HeaderLen:
		return 0
	case b[0]>>4 == 4:
		return b[9]
	case b[6] != protoFragment:
		return b[6]
	case len(b) < IPv6HeaderLen+FragmentHeaderLen:
		return 0
	}
	return b[40]
}

// ID returns the Identification, or 0 for IPv6 without a fragment header.
func ID(b []byte) uint32 {
	switch {
	case len(b) < IPv4HeaderLen:
		return 0
	case b[0]>>4 == 4:
		return uint32(binary.BigEndian.Uint16(b[4:]))
	case b[6] == protoFragment && len(b) >= IPv6HeaderLen+FragmentHeaderLen:
		return binary.BigEndian.Uint32(b[44:])
	}
	return 0
}

// SetID writes the Identification of a whole packet, and keeps IPv4's header
// checksum right (RFC 1624, equation 3). A packet of IPv6 without a fragment
// header has none.
func SetID(b []byte, id uint32) {
	if b[0]>>4 == 6 {
		if b[6] == protoFragment {
			binary.BigEndian.PutUint32(b[44:], id)
		}
		return
	}
	old := binary.BigEndian.Uint16(b[4:])
	sum := uint32(^binary.BigEndian.Uint16(b[10:])) + uint32(^old) + uint32(uint16(id))
	sum = sum&0xFFFF + sum>>16
	sum = sum&0xFFFF + sum>>16
	binary.BigEndian.PutUint16(b[4:], uint16(id))
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
}

// SetTTL changes the time to live, or hop limit, of a sound packet, and keeps
// IPv4's header checksum right.
func SetTTL(b []byte, ttl uint8) {
	if b[0]>>4 == 6 {
		b[7] = ttl
		return
	}
	// RFC 1624, equation 3; the field is the higher half of its word.
	sum := uint64(^binary.BigEndian.Uint16(b[10:])) + uint64(^(uint16(b[8]) << 8)) + uint64(ttl)<<8
	b[8] = ttl
	binary.BigEndian.PutUint16(b[10:], ^Fold(sum))
}
