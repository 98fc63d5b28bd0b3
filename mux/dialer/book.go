package dialer

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// failFirst is how long an address that failed once stands behind the others;
	// each further time twice as long, up to failMost.
	failFirst = 2 * time.Second
	failMost  = time.Minute
	// maxRecords bounds a Book: more addresses than any server has.
	maxRecords = 256
)

// A Book remembers how the addresses of the server did on one path. It is safe
// for concurrent use.
type Book struct {
	mu      sync.Mutex // guards records
	records map[netip.AddrPort]*record
}

type record struct {
	fails   int       // in a row
	until   time.Time // the address stands behind others until then
	unknown time.Time // since when it is another server than the session's; zero = it is not
	at      time.Time // of the last entry
}

// record finds the record of an address, or makes it; the caller holds b.mu.
func (b *Book) record(a netip.AddrPort, now time.Time) *record {
	if b.records == nil {
		b.records = make(map[netip.AddrPort]*record)
	}
	r := b.records[a]
	if r == nil {
		if len(b.records) >= maxRecords {
			b.forgetOldest()
		}
		r = &record{}
		b.records[a] = r
	}
	r.at = now
	return r
}

// forgetOldest makes room; the caller holds b.mu.
func (b *Book) forgetOldest() {
	var oldest netip.AddrPort
	for a, r := range b.records {
		if !oldest.IsValid() || r.at.Before(b.records[oldest].at) {
			oldest = a
		}
	}
	delete(b.records, oldest)
}

// Failed notes that an address did not prove to be the server.
func (b *Book) Failed(a netip.AddrPort, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.record(a, now)
	if now.Before(r.until) && r.fails > 0 {
		return // several attempts at once count as one
	}
	r.until = now.Add(min(failFirst<<min(r.fails, 10), failMost))
	r.fails++
}

// Proved notes that it did.
func (b *Book) Proved(a netip.AddrPort, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.record(a, now)
	r.fails, r.until = 0, time.Time{}
}

// Unknown notes that the server there does not know the session.
func (b *Book) Unknown(a netip.AddrPort, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.record(a, now).unknown = now
}

// Renew forgets which servers do not know the session: there is a new one.
func (b *Book) Renew() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.records {
		r.unknown = time.Time{}
	}
}

// Fails is how often in a row the address failed.
func (b *Book) Fails(a netip.AddrPort) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.records[a]; r != nil {
		return r.fails
	}
	return 0
}

// Ranks of addresses, the best first.
const (
	rankLive    = iota // the session has subflows there
	rankGood           // nothing is against it
	rankFailed         // it failed lately
	rankUnknown        // another server than the session's is there
)

// Order sorts addresses by how they did, and leaves those alike in their order.
// live are the addresses of the session's subflows.
func (b *Book) Order(addrs, live []netip.AddrPort, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rank := func(a netip.AddrPort) int {
		r := b.records[a]
		switch {
		case r != nil && !r.unknown.IsZero():
			return rankUnknown
		case r != nil && now.Before(r.until):
			return rankFailed
		case slices.Contains(live, a):
			return rankLive
		}
		return rankGood
	}
	slices.SortStableFunc(addrs, func(x, y netip.AddrPort) int { return rank(x) - rank(y) })
}

// Hopeless says that every address failed lately, or is another server's.
func (b *Book) Hopeless(addrs []netip.AddrPort, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range addrs {
		if r := b.records[a]; r == nil || r.unknown.IsZero() && !now.Before(r.until) {
			return false
		}
	}
	return true
}
