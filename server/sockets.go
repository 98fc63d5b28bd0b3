package server

import (
	"sync"
	"sync/atomic"
)

// A kind is what a socket is for.
type kind int

const (
	mappingSocket kind = iota
	exitSocket
	kinds
)

// sockets are those of all mappings and CONNECTs, as the process can open so many files; or
// the ports that mappings have of the system, of one family.
//
// Nobody gets the last: a client may hold as many as are free, which is half of all for
// one alone, a third for each of two. So there is always something for whoever comes
// next. Of its share a client may have four fifths for one kind: programs that connect
// without end leave some for datagrams, and the other way round.
type sockets struct {
	mu   sync.Mutex // guards the rest, and held of every holding
	most int        // 0 = no cap
	used int
	one  bool // they are of one kind: nothing is kept for another

	barren atomic.Int64 // as a quota's
}

// A holding is what one client has of the sockets.
type holding struct {
	held   [kinds]int
	barren atomic.Int64 // as a quota's
}

// room says whether there is one more for a holding; the caller holds s.mu.
func (s *sockets) room(h *holding, k kind) bool {
	if s.most == 0 {
		return true
	}
	free, all := s.most-s.used, 0
	for _, n := range h.held {
		all += n
	}
	return all < free && (s.one || 3*h.held[k] < 2*free)
}

// take counts one more, unless the client's share is used.
func (s *sockets) take(h *holding, k kind) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.room(h, k) {
		return false
	}
	h.held[k]++
	s.used++
	return true
}

// give counts one less.
func (s *sockets) give(h *holding, k kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.held[k]--
	s.used--
}

// full says whether take would fail now.
func (s *sockets) full(h *holding, k kind) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.room(h, k)
}
