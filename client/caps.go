package client

import (
	"net/netip"
	"sync"
)

// holder is who a cap counts for: a SOCKS user or, without authentication, the
// application's host.
type holder struct {
	user string
	host netip.Addr
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
func (q *quota) acquire(h holder) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	last := q.max / quotaReserve
	if q.max > 0 && (q.total >= q.max || q.total >= q.max-last && q.by[h] >= last) || q.each > 0 && q.by[h] >= q.each {
		q.denied++
		return false
	}
	q.total++
	q.by[h]++
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
func (q *quota) release(h holder) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total--
	if q.by[h]--; q.by[h] <= 0 {
		delete(q.by, h)
	}
}

// state returns how many live and how many were refused.
func (q *quota) state() (total int, denied uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total, q.denied
}
