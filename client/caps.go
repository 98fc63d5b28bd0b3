package client

import (
	"net/netip"
	"sync"
)

// holder is who a cap counts for: a SOCKS user or, without authentication, the
// application's host; of those behind a TUN device of a whole machine each user of the
// machine, or other host.
type holder struct {
	user string
	host netip.Addr
	uid  uint32 // of this machine, where here is set
	here bool
}

func holderOf(user string, host netip.Addr) holder {
	if user != "" {
		return holder{user: user}
	}
	return holder{host: host}
}

// quotaReserve is what part of the whole is left to holders that have less than that: one
// alone does not keep the others out.
const quotaReserve = 8

// quota bounds how many of a thing live at once, in all and for each holder; a
// bound of 0 is none.
type quota struct {
	mu        sync.Mutex // guards all following fields
	max, each int
	total     int
	by        map[holder]int
	denied    uint64
}

func newQuota(limit, each int) *quota {
	return &quota{max: limit, each: each, by: make(map[holder]int)}
}

// acquire counts one more for h, or returns false.
func (q *quota) acquire(h holder) bool { return q.take(h, 1) }

// take counts n more for h, or returns false.
func (q *quota) take(h holder, n int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	last, total, own := q.max/quotaReserve, q.total+n, q.by[h]+n
	if q.max > 0 && (total > q.max || total > q.max-last && own > last) || q.each > 0 && own > q.each {
		q.denied++
		return false
	}
	q.total, q.by[h] = total, own
	return true
}

// set changes the bounds; what is held beyond them stays.
func (q *quota) set(limit, each int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.max, q.each = limit, each
}

// most is the bound in all.
func (q *quota) most() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.max
}

// release undoes one acquire.
func (q *quota) release(h holder) { q.give(h, 1) }

// give undoes one take.
func (q *quota) give(h holder, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total -= n
	if q.by[h] -= n; q.by[h] <= 0 {
		delete(q.by, h)
	}
}

// state returns how many live and how many were refused.
func (q *quota) state() (total int, denied uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total, q.denied
}
