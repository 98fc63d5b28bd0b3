package server

import (
	"encoding/binary"
	"net/netip"
)

// alive takes the news of inner ports that are still open at the client, though
// they send nothing: a list as discard's. Their mappings are as good as used, so
// that a program that only listens goes on hearing. It refreshes what there is
// and makes nothing. It is
// called with p.mu held for reading.
func (u *uplink) alive(p *peer, payload []byte) dropReason {
	if !u.control() {
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
