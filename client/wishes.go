package client

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	// wishTick is how often it is looked whether paths have other address IDs.
	wishTick = time.Second
	// wishAgain is how often the server is told again: it believes a wish for three
	// times as long.
	wishAgain = 50 * time.Second
)

// wishes are what programs ask for at their inner ports: a class, and the paths that they
// may use. The session is told of what it sends, and the server of what comes back.
type wishes struct {
	client *Client // set once

	mu      sync.Mutex // guards all following fields
	at      map[packet.End]mux.Wish
	told    time.Time // when all were
	names   [][]string
	ids     []uint32 // of names, as the server knows them,
	epoch   uint64   // in this epoch of the session
	timer   *time.Timer
	stopped bool
}

// ask takes what is asked for an inner port, before anything is sent from it. An empty
// wish needs nothing.
func (s *wishes) ask(proto uint8, at netip.AddrPort, w mux.Wish) {
	end, ok := packet.EndAt(proto, at)
	if w.Empty() || !ok {
		return
	}
	s.client.tunnel.Wish(end, w)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	if s.at == nil {
		s.at = make(map[packet.End]mux.Wish)
		s.timer = time.AfterFunc(wishTick, s.tick)
	} else if len(s.at) == 0 {
		s.timer.Reset(wishTick)
	}
	s.at[end] = w
	s.tell([]packet.Wish{s.word(end, &w)})
}

// end forgets what was asked for an inner port.
func (s *wishes) end(proto uint8, at netip.AddrPort) {
	end, ok := packet.EndAt(proto, at)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, asked := s.at[end]; !asked {
		return
	}
	delete(s.at, end)
	s.client.tunnel.Wish(end, mux.Wish{})
	s.tell([]packet.Wish{{At: end, Class: packet.WishNoClass}})
}

// word is a wish in the server's words. s.mu is held.
func (s *wishes) word(at packet.End, w *mux.Wish) packet.Wish {
	out := packet.Wish{At: at, Class: packet.WishNoClass}
	if w.Asked {
		out.Class = uint8(w.Class)
	}
	if w.Paths == nil {
		return out
	}
	out.Paths = s.idsOf(w.Paths)
	return out
}

// idsOf asks the session for the address IDs of paths, and remembers them. s.mu is held.
func (s *wishes) idsOf(names []string) uint32 {
	ids, epoch := s.client.tunnel.IDs(names)
	s.epoch = epoch
	i := slices.IndexFunc(s.names, func(n []string) bool { return slices.Equal(n, names) })
	if i < 0 {
		s.names, s.ids = append(s.names, names), append(s.ids, ids)
	} else {
		s.ids[i] = ids
	}
	return ids
}

// tick tells the server all again when that is due, or when it has to be told something
// else; the timer calls it.
func (s *wishes) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || len(s.at) == 0 {
		s.names, s.ids = nil, nil
		return
	}
	s.timer.Reset(wishTick)
	due := time.Since(s.told) >= wishAgain
	for i, names := range s.names {
		was, epoch := s.ids[i], s.epoch
		due = s.idsOf(names) != was || s.epoch != epoch || due
	}
	if !due {
		return
	}
	s.told = time.Now()
	all := make([]packet.Wish, 0, len(s.at))
	for at, w := range s.at {
		all = append(all, s.word(at, &w))
	}
	s.tell(all)
}

// tell sends wishes to the server, in as few datagrams as they take. What gets lost is
// told again.
func (s *wishes) tell(all []packet.Wish) {
	for part := range slices.Chunk(all, maxNewsLen/packet.WishLen) {
		b := buf.Get(len(part) * packet.WishLen)
		to := b.Bytes()[:0]
		for i := range part {
			to = part[i].Append(to)
		}
		h := packet.UDP{
			Src: netip.AddrPortFrom(packet.ClientHost4, packet.DiscardPort),
			Dst: netip.AddrPortFrom(packet.ServerHost4, packet.WishPort), TTL: innerTTL,
		}
		packet.PutUDP(b.Prepend(h.Overhead(b.Len())), &h)
		s.client.tunnel.Send(&s.client.ends.source, []*buf.Buffer{b})
	}
	s.client.tunnel.Flush()
}

// stop ends the timer.
func (s *wishes) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.timer != nil {
		s.timer.Stop()
	}
}
