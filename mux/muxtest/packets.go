package muxtest

import (
	"encoding/binary"
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// Packet is an inner UDP packet that carries a number.
func Packet(src, dst netip.AddrPort, number uint64, size int) *buf.Buffer {
	b := buf.Get(size)
	clear(b.Bytes())
	binary.BigEndian.PutUint64(b.Bytes(), number)
	pkt := b.Prepend(packet.UDPOverhead(dst.Addr()))
	packet.PutUDP(pkt, &packet.UDP{Src: src, Dst: dst, TTL: 64})
	return b
}

// LongDatagram is a datagram in two packets.
func LongDatagram(id uint32, payload []byte) (first, second *buf.Buffer) {
	first, second = buf.Get(packet.UDP6Overhead+len(payload)), buf.Get(packet.MaxTail)
	copy(first.Bytes()[packet.UDP6Overhead:], payload)
	n, m := packet.SplitUDP(first.Bytes(), second.Bytes(), &packet.UDP{
		Src: netip.AddrPortFrom(packet.ClientHost6, 5000), Dst: netip.MustParseAddrPort("[2001:db8::1]:9"), TTL: 64, ID: id,
	})
	first.Resize(n)
	second.Resize(m)
	return first, second
}
