package engine

import (
	"slices"

	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// What programs ask for, by their ports inside the tunnel: the class of all that is
// exchanged with them, and the paths that it may use. Both halves have such a table. The
// client's own is told by its programs; the server's by the client, again and again.

const (
	// maxWishes bounds the table: a program may have as many sockets as a device has
	// ports.
	maxWishes = 16384
	// wishLife is how long, in ns, a server believes a wish that is not told again: three
	// rounds of the client's.
	wishLife = 150e9
)

// wishes are those of a session.
type wishes struct {
	at   map[packet.End]*wish
	turn uint32 // counts the changes: flows look again
}

type wish struct {
	fq.Wish
	told int64
}

// Want takes what is asked for all that is exchanged with an end from now on, for flows
// that are there as of their next packet. One that is empty ends what was asked before.
// It reports whether there was room.
func Want(e *Engine, at packet.End, w fq.Wish, now int64) bool {
	if e.rec != nil {
		e.rec.wish(at, &w, now)
	}
	return e.table.wishes.set(at, w, now)
}

func (s *wishes) set(at packet.End, w fq.Wish, now int64) bool {
	old := s.at[at]
	switch {
	case w.Empty() && old == nil:
		return true
	case w.Empty():
		delete(s.at, at)
	case old != nil && old.Class == w.Class && old.Asked == w.Asked && old.IDs == w.IDs && slices.Equal(old.Paths, w.Paths):
		old.told = now
		return true
	case old == nil && len(s.at) >= maxWishes:
		return false
	default:
		if s.at == nil {
			s.at = make(map[packet.End]*wish)
		}
		s.at[at] = &wish{w, now}
	}
	s.turn++
	return true
}

// of returns what is asked for a flow, or nil.
func (s *wishes) of(k *packet.Key, client bool, now int64) *fq.Wish {
	if len(s.at) == 0 {
		return nil
	}
	at, ok := k.Inside(client)
	if !ok {
		return nil
	}
	w := s.at[at]
	switch {
	case w == nil:
		return nil
	case !client && now-w.told > wishLife:
		delete(s.at, at)
		s.turn++
		return nil
	}
	return &w.Wish
}

// sweep forgets what a client has told too long ago. It looks at a few, beginning anywhere.
func (s *wishes) sweep(now int64) {
	n := 0
	for at, w := range s.at {
		if now-w.told > wishLife {
			delete(s.at, at)
			s.turn++
		}
		if n++; n > 1024 {
			return
		}
	}
}

// IDs returns the address IDs of paths, by name, a bit each: those that a peer is told
// of. None is a set that no path is in.
func IDs(e *Engine, names []string) (ids uint32) {
	if names == nil {
		return 0
	}
	for _, p := range e.paths {
		if p.addrID < 31 && slices.Contains(names, p.cfg.Name) {
			ids |= 1 << p.addrID
		}
	}
	if ids == 0 {
		ids = 1 << 31 // no path has it
	}
	return ids
}

// may says whether a wish lets a path be used.
func may(w *fq.Wish, p *Path) bool {
	return (w.Paths == nil || slices.Contains(w.Paths, p.cfg.Name)) && (w.IDs == 0 || p.addrID < 31 && w.IDs&(1<<p.addrID) != 0)
}
