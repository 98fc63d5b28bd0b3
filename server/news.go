package server

import (
	"encoding/binary"
	"net/netip"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// discard takes the news of ended inner ports: addresses and ports of the
// datagram's own family, one after the other. A client can name only sources of
// its own, since each peer has its mappings in a table of its own.
//
// What came for a port before the news, or in the same batch, still goes out;
// what comes later makes a new mapping.
func (u *uplink) discard(payload []byte) dropReason {
	return u.named(payload, func(key uint64) { u.ended = append(u.ended, key) })
}

// named reads a list of inner ports that the client itself sends, addresses and
// ports of the datagram's own family, and calls each for every one of them.
func (u *uplink) named(payload []byte, each func(key uint64)) dropReason {
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
		each(key)
	}
	return dropNone
}

// alive takes the news of inner ports that are still open at the client, though
// they send nothing: a list as discard's. Their mappings are as good as used, so
// that a program that only listens goes on hearing. It refreshes what there is
// and makes nothing. It is called with p.nat.mu held for reading.
func (u *uplink) alive(p *peer, payload []byte) dropReason {
	return u.named(payload, func(key uint64) {
		if m := p.nat.mappings[key]; m != nil {
			m.sent.Store(u.now)
		}
	})
}

// A wish is what the client's programs ask for at one of its ports.
type wish struct {
	at   packet.End
	want mux.Wish
}

// wish takes what the client asks for what is sent to its ports. Deliver hands it to the
// session, whose table is bounded.
func (u *uplink) wish(payload []byte) dropReason {
	if !u.control() {
		return dropSource
	}
	if len(payload) == 0 || len(payload)%packet.WishLen != 0 {
		return dropService
	}
	for ; len(payload) > 0; payload = payload[packet.WishLen:] {
		told := packet.ParseWish(payload)
		want, ok := mux.WishOf(&told)
		if !ok {
			return dropService
		}
		u.wishes = append(u.wishes, wish{told.At, want})
	}
	return dropNone
}
