package admission

import (
	"net/netip"
	"sync"
)

// A Holder is who a cap counts for: a SOCKS user or, without authentication, the
// application's host; of those behind a TUN device of a whole machine each user of the
// machine, or other host.
type Holder struct {
	User string
	Host netip.Addr
	UID  uint32 // of this machine, where Here is set
	Here bool
}

// HolderOf is the holder that an application at a host is: the SOCKS user, if there is one.
func HolderOf(user string, host netip.Addr) Holder {
	if user != "" {
		return Holder{User: user}
	}
	return Holder{Host: host}
}

// Reserve is what part of the whole is left to holders that have less than that: one
// alone does not keep the others out.
const Reserve = 8

// A Quota bounds how many of a thing live at once, in all and for each holder; a
// bound of 0 is none. It is safe for concurrent use.
type Quota struct {
	mu        sync.Mutex // guards all following fields
	max, each int
	total     int
	by        map[Holder]int
	denied    uint64
}

// NewQuota makes one of which nothing is held.
func NewQuota(limit, each int) *Quota {
	return &Quota{max: limit, each: each, by: make(map[Holder]int)}
}

// Acquire counts one more for h, or returns false.
func (q *Quota) Acquire(h Holder) bool { return q.Take(h, 1) }

// Take counts n more for h, or returns false.
func (q *Quota) Take(h Holder, n int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	last, total, own := q.max/Reserve, q.total+n, q.by[h]+n
	if q.max > 0 && (total > q.max || total > q.max-last && own > last) || q.each > 0 && own > q.each {
		q.denied++
		return false
	}
	q.total, q.by[h] = total, own
	return true
}

// Set changes the bounds; what is held beyond them stays.
func (q *Quota) Set(limit, each int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.max, q.each = limit, each
}

// Most is the bound in all.
func (q *Quota) Most() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.max
}

// Release undoes one Acquire.
func (q *Quota) Release(h Holder) { q.Give(h, 1) }

// Give undoes one Take.
func (q *Quota) Give(h Holder, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total -= n
	if q.by[h] -= n; q.by[h] <= 0 {
		delete(q.by, h)
	}
}

// State returns how many live and how many times somebody was refused.
func (q *Quota) State() (total int, denied uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total, q.denied
}
