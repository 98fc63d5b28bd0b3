package server

import "sync/atomic"

// A quota counts what is held of something against a cap. It is safe for
// concurrent use.
type quota struct {
	used atomic.Int64
	max  int64 // 0 = no cap
	// barren is until when (Server.now) no mapping can be evicted to make room,
	// as the last search has found. A full table is so not searched for every
	// datagram of a flood.
	barren atomic.Int64
}

// take counts one more, unless the cap is reached.
func (q *quota) take() bool {
	if n := q.used.Add(1); q.max > 0 && n > q.max {
		q.used.Add(-1)
		return false
	}
	return true
}

// give counts one less.
func (q *quota) give() { q.used.Add(-1) }

// full says whether take would fail now.
func (q *quota) full() bool { return q.max > 0 && q.used.Load() >= q.max }

// A client is what the sessions of one client's key share: its caps.
type client struct {
	name                       string
	mappings, streams, queries quota
}
