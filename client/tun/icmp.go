package tun

import (
	"encoding/binary"

	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	protoICMP4 = 1
	protoICMP6 = 58
	echoHeader = 8 // RFC 792, RFC 4443 Section 4.1
)

// echo answers an echo request to one of the server's inner addresses, which is
// at hand as long as the device is; false if the packet is something else. What
// is farther away than the tunnel cannot be asked from here.
func (d *Device) echo(b []byte, n *network) bool {
	if n.dst != packet.ServerHost4 && n.dst != packet.ServerHost6 || n.total-n.header < echoHeader {
		return false
	}
	m := b[n.header:n.total]
	request, reply := byte(8), byte(0)
	initial := uint64(0)
	if n.proto == protoICMP6 {
		request, reply = 128, 129
		s, t := n.src.As16(), n.dst.As16()
		initial = packet.Sum(t[:], packet.Sum(s[:], uint64(protoICMP6)+uint64(len(m))))
	}
	if m[0] != request || packet.Fold(packet.Sum(m, initial)) != 0xFFFF {
		return false
	}
	out := append([]byte(nil), b...)
	m = out[n.header:]
	m[0], m[2], m[3] = reply, 0, 0
	binary.BigEndian.PutUint16(m[2:], packet.Checksum(m, initial))
	if n.proto == protoICMP4 { // exchanging the addresses leaves the header's sum as it was
		copy(out[12:16], b[16:20])
		copy(out[16:20], b[12:16])
	} else {
		copy(out[8:24], b[24:40])
		copy(out[24:40], b[8:24])
	}
	d.link.write(out)
	return true
}
