package server

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	// A session is told of ports that get no mapping so many times a second, and so many
	// times more at once: programs that do not listen send on.
	refusalRate, refusalBurst = 20, 256
	// maxRefused is how many of a batch are told of.
	maxRefused = 64
)

// refusals are the inner ports of a batch that get no mapping, for the client to hear of.
type refusals []netip.AddrPort

func (r *refusals) add(src netip.AddrPort) {
	if len(*r) < maxRefused && !slices.Contains(*r, src) {
		*r = append(*r, src)
	}
}

// tell tells the client which of its ports get no mapping, as it tells which have
// ended (RFC 1928 has no other word for a program than the end of its association). It
// may get lost: the port's next datagram says it again.
func (r *refusals) tell(p *peer) {
	ports := *r
	if *r = ports[:0]; len(ports) == 0 {
		return
	}
	if !p.refused.Allow() {
		return
	}
	p.client.wrong("a program's datagrams were refused: the limit of mappings, or its share of file descriptors, is used")
	for _, four := range []bool{true, false} {
		h := packet.UDP{
			Src: netip.AddrPortFrom(packet.ServerHost4, packet.DiscardPort),
			Dst: netip.AddrPortFrom(packet.ClientHost4, packet.DiscardPort), TTL: hopLimit,
		}
		if !four {
			h.Src = netip.AddrPortFrom(packet.ServerHost6, packet.DiscardPort)
			h.Dst = netip.AddrPortFrom(packet.ClientHost6, packet.DiscardPort)
		}
		var list []byte
		for _, at := range ports {
			if at.Addr().Is4() == four {
				list = binary.BigEndian.AppendUint16(append(list, at.Addr().AsSlice()...), at.Port())
			}
		}
		if len(list) == 0 {
			continue
		}
		b := buf.Get(len(list))
		copy(b.Bytes(), list)
		p.session.Send(&p.source, wrap(nil, b, &h))
	}
}
