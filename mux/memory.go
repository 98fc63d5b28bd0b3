package mux

import (
	"errors"
	"sync"
	"time"
)

// What sessions hold is counted in bytes of the buffers that they really hold: packets
// without a Data ACK, queues, streams, subflows, what the kernel has of both, and what the
// Handler says that it holds beside. A Memory shares it out: a client that comes near its
// share is slowed, by a smaller window and smaller streams for each of its sessions; one
// that stays over it, or is far over it, loses its largest session, and when all together
// are over, the largest client does. Nobody else notices.

// errMemory ends the largest session of a client that holds too much.
var errMemory = errors.New("the client holds more memory than its share")

const (
	// shareOf is which part of all the memory one client may hold.
	shareOf = 4
	// leastPart is the smallest part of a share that a session gets.
	leastPart = 2 << 20
	// overTime is how long a client may be over its share, by a half of it at most: what
	// slows it takes its time to show.
	overTime = 2 * time.Second
)

// A Memory is the budget of all sessions of a Listener. It is safe for concurrent use.
type Memory struct {
	mu      sync.Mutex
	limit   int64 // 0 = none
	total   int64
	clients map[[32]byte]*holder
	cuts    uint64
	streams uint64 // that were ended for what they held, of sessions that have ended
}

// A holder is one client.
type holder struct {
	total    int64
	sessions map[*Session]int64
	since    time.Time // it has been over its share, zero if it is not
}

// over says whether it has had its time. The caller holds mu.
func (c *holder) over(share int64) bool {
	switch {
	case c.total <= share:
		c.since = time.Time{}
		return false
	case c.since.IsZero():
		c.since = time.Now()
	}
	return c.total > share+share/2 || time.Since(c.since) > overTime
}

func newMemory() *Memory { return &Memory{clients: make(map[[32]byte]*holder)} }

// setLimit sets how many bytes all sessions may hold; 0 is no limit.
func (m *Memory) setLimit(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit = n
}

// hold notes what a session holds now and returns its part of its client's share (0 = as
// much as there can be), and whether it has to end.
func (m *Memory) hold(s *Session, bytes int64) (part int64, cut bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-s.end.done: // it ended meanwhile, and has been dropped
		return 0, false
	default:
	}
	c := m.clients[s.identity]
	if c == nil {
		c = &holder{sessions: make(map[*Session]int64)}
		m.clients[s.identity] = c
	}
	d := bytes - c.sessions[s]
	c.sessions[s] = bytes
	c.total += d
	m.total += d
	if m.limit == 0 {
		return 0, false
	}
	share := m.limit / shareOf
	if c.over(share) && c.largest(s) || m.total > m.limit && m.biggest(c) && c.largest(s) {
		m.cuts++
		return leastPart, true
	}
	return max(leastPart, share/int64(len(c.sessions))), false
}

// drop forgets a session that has ended.
func (m *Memory) drop(s *Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.clients[s.identity]
	if c == nil {
		return
	}
	n, there := c.sessions[s]
	if there {
		m.streams += s.streams.Cut()
	}
	delete(c.sessions, s)
	c.total -= n
	m.total -= n
	if len(c.sessions) == 0 {
		delete(m.clients, s.identity)
	}
}

func (c *holder) largest(s *Session) bool {
	for o, n := range c.sessions {
		if o != s && n > c.sessions[s] {
			return false
		}
	}
	return true
}

func (m *Memory) biggest(c *holder) bool {
	for _, o := range m.clients {
		if o.total > c.total {
			return false
		}
	}
	return true
}

// MemoryUse is what all sessions hold.
type MemoryUse struct {
	Held  int64  `json:"held"`  // bytes
	Limit int64  `json:"limit"` // 0 = none
	Cut   uint64 `json:"cut"`   // sessions that were ended for it
	// Streams is how many streams were, in sessions that went on.
	Streams uint64 `json:"streams"`
}

// Use returns what all sessions hold.
func (m *Memory) Use() MemoryUse {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := MemoryUse{m.total, m.limit, m.cuts, m.streams}
	for _, c := range m.clients {
		for s := range c.sessions {
			u.Streams += s.streams.Cut()
		}
	}
	return u
}
