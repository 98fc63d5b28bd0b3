package mux

import (
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// Wish is what is asked for all that is exchanged with one port of the client, before any
// rule: a class, and the only paths that may be used, by name on the client and by address
// ID on the server. While none of these is there what is sent waits, and grows stale; it
// goes no other way.
type Wish = fq.Wish

// Wish takes what is asked for an end from now on, for flows that are there as of their
// next packet; an empty wish ends what was asked before. It reports whether there was
// room.
func (s *Session) Wish(at packet.End, w Wish) (taken bool) {
	s.enter(func(e *engine.Engine, now int64) { taken = e.Wish(at, w, now) })
	return taken
}

// IDs returns the address IDs of paths (RFC 8684, Section 3.2), by name, a bit each, for
// the peer; nil is none, and names without a path are a bit that no ID has. They mean
// something within this epoch of the session's keys.
func (s *Session) IDs(names []string) (ids uint32, epoch uint64) {
	s.enter(func(e *engine.Engine, _ int64) { ids, epoch = e.IDs(names), e.Epoch() })
	return ids, epoch
}

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
