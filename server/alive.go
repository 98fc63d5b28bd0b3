package server

import (
	"encoding/binary"
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// alive takes the news of inner ports that are still open at the client, though
// they send nothing: a list as discard's. Their mappings are as good as used, so
// that a program that only listens goes on hearing. It refreshes what there is
// and makes nothing. The client's own port says it is the client that speaks. It
// is called with p.mu held for reading.
func (u *uplink) alive(p *peer, payload []byte) dropReason {
	if u.header.Src.Port() != packet.DiscardPort {
		return dropSource
	}
	addrLen := u.header.Src.Addr().BitLen() / 8
	if len(payload) == 0 || len(payload)%(addrLen+2) != 0 {
		return dropService
	}
	for ; len(payload) > 0; payload = payload[addrLen+2:] {
		addr, _ := netip.AddrFromSlice(payload[:addrLen])
		key, ok := innerKey(netip.AddrPortFrom(addr, binary.BigEndian.Uint16(payload[addrLen:])))
		if !ok {
			return dropSource
		}
		if m := p.mappings[key]; m != nil {
			m.sent.Store(u.now)
		}
	}
	return dropNone
}
