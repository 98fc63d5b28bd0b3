package mux

import (
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// Wish is what is asked for all that is exchanged with one port of the client, before any
// rule: a class, and the only paths that may be used, by name on the client and by address
// ID on the server. While none of these is there what is sent waits, and grows stale; it
// goes no other way.
type Wish = fq.Wish

// WishOf reads what a client has told; false where this release knows no such class.
func WishOf(told *packet.Wish) (w Wish, ok bool) {
	w.IDs = told.Paths
	if told.Class != packet.WishNoClass {
		if int(told.Class) >= int(fq.Classes) || fq.Class(told.Class).Kind().Name == "" {
			return w, false
		}
		w.Class, w.Asked = fq.Class(told.Class), true
	}
	return w, true
}
