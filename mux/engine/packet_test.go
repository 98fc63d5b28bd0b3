package engine

import (
	"encoding/binary"
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// testPacket is an inner UDP packet that carries a number.
func testPacket(src, dst netip.AddrPort, number uint64, size int) *buf.Buffer {
	b := buf.Get(size)
	clear(b.Bytes())
	binary.BigEndian.PutUint64(b.Bytes(), number)
	pkt := b.Prepend(packet.UDPOverhead(dst.Addr()))
	packet.PutUDP(pkt, &packet.UDP{Src: src, Dst: dst, TTL: 64})
	return b
}
