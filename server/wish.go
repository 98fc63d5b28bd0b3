package server

import (
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/packet"
)

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
