package mux

import (
	"net/netip"
	"sync"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/handshake"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// A registry has the sessions of a Listener, by their tokens, and room for those that are
// being opened.
type registry struct {
	mu       sync.Mutex // guards the rest
	sessions map[mptcp.Token]*Session
	opening  map[[32]byte]int // those that are not in sessions yet, by key
}

// list returns the sessions that there are now.
func (r *registry) list() (ss []*Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sessions {
		ss = append(ss, s)
	}
	return ss
}

// find returns the session of a token; a join counts only from the identity
// that opened it.
func (r *registry) find(key [32]byte, t mptcp.Token) (*Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sessions[t]; s != nil && s.identity == key {
		return s, nil
	}
	return nil, unknownSessionError(t)
}

// files is how many descriptors the sessions of a client hold together: a socket for each
// subflow, and a clock for each session (lull.Alarm).
func (r *registry) files(key [32]byte) (n int) {
	for _, s := range r.list() {
		if s.identity == key {
			n += s.core.sockets() + 1
		}
	}
	return n
}

// reserve takes room for one more session of a client, also from one that waits for
// a client that has come anew. What is counted is taken at once, however many come
// together. It returns the limit that leaves none, or "", and the session that has to end for it,
// or nil.
func (r *registry) reserve(cfg *listening, key [32]byte) (limit string, idle *Session) {
	r.mu.Lock()
	n, all := r.opening[key], len(r.sessions)
	for _, k := range r.opening {
		all += k
	}
	var token mptcp.Token
	for t, s := range r.sessions {
		if s.identity == key {
			n++
			if s.core.abandoned() && (idle == nil || s.core.start.Before(idle.core.start)) {
				idle, token = s, t
			}
		}
	}
	switch {
	case all >= cfg.MaxSessions:
		limit = limitSessions
	case n >= cfg.MaxSessionsPerClient:
		limit = limitPerClient
	}
	full := limit != ""
	if full && idle == nil {
		r.mu.Unlock()
		return limit, nil
	}
	r.opening[key]++
	if !full {
		r.mu.Unlock()
		return "", nil
	}
	delete(r.sessions, token)
	r.mu.Unlock()
	idle.voice.Line(&idle.log, zerolog.InfoLevel).Str("session", sessionNumber(uint32(token))).AnErr("why", ErrTimeout).Msg("session ended")
	return "", idle
}

// unreserve gives the reserved room back, of a session that does not come to be.
func (r *registry) unreserve(key [32]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened(key)
}

// opened gives the reserved room back. The caller holds mu.
func (r *registry) opened(key [32]byte) {
	if r.opening[key]--; r.opening[key] == 0 {
		delete(r.opening, key)
	}
}

// register gives a session its key, with a token that no other has (RFC 8684,
// Section 3.1), and makes it findable.
func (r *registry) register(s *Session, advertise []netip.AddrPort) mptcp.Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := handshake.NewKey()
	for r.sessions[k.Token()] != nil {
		k = handshake.NewKey()
	}
	r.sessions[k.Token()] = s
	r.opened(s.identity)
	for i, a := range advertise {
		s.adverts = append(s.adverts, advert{id: uint8(i + 1), addr: a})
	}
	return k
}

// forget takes a session that has ended out.
func (r *registry) forget(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for t, have := range r.sessions {
		if have == s {
			delete(r.sessions, t)
			s.voice.Line(&s.log, zerolog.InfoLevel).Str("session", sessionNumber(uint32(t))).AnErr("why", s.end.err).Msg("session ended")
		}
	}
}
