package packet

import "encoding/binary"

// UDPPayload returns the payload of a whole UDP packet as the tunnel carries it,
// without looking at its headers; empty if there is none.
func UDPPayload(b []byte) []byte {
	n := IPv4HeaderLen + 8
	if b[0]>>4 == 6 {
		n = UDP6Overhead
	}
	if len(b) < n {
		return nil
	}
	return b[n:]
}

// IsQUIC reports whether a datagram begins as the first ones of a QUIC connection
// do, with a long header that names a version (RFC 8999, Section 5.1; RFC 9000,
// Section 15; RFC 9369, Section 3.1).
func IsQUIC(payload []byte) bool {
	if len(payload) < 7 || payload[0]&0xC0 != 0xC0 {
		return false
	}
	v := binary.BigEndian.Uint32(payload[1:])
	return v == 1 || v == 0x6b3343cf || v>>8 == 0xff0000
}
