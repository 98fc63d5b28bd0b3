package udpio

import (
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// Packet makes the payload in b, which fits, a packet with header h, in place: IP and UDP headers are
// written in front. What is too long for one (packet.UDP.Long) becomes two fragments, and the second
// one is returned, which has to go to the session right behind b; it is nil else.
func Packet(b *buf.Buffer, h *packet.UDP) (second *buf.Buffer) {
	if !h.Long(b.Len()) {
		packet.PutUDP(b.Prepend(packet.UDPOverhead(h.Dst.Addr())), h)
		return nil
	}
	second = buf.Get(packet.MaxTail)
	n, rest := packet.SplitUDP(b.Prepend(packet.UDP6Overhead), second.Bytes(), h)
	b.Resize(n)
	second.Resize(rest)
	return second
}
