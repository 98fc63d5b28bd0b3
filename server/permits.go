package server

import (
	"net/netip"
	"sync"
	"time"
	"unsafe"
)

// permits is the state of a mapping's filter (RFC 4787 REQ-8): whom the client
// sent to within the idle time may answer. Deliver's goroutines write it and the
// Loop's reads it, so it has a lock.
type permits struct {
	mu    sync.Mutex
	table remotes // number: when, in seconds
	ports bool    // the port counts too
	idle  int64   // nanoseconds
}

// note lets a remote answer.
func (f *permits) note(remote netip.AddrPort, now int64) {
	f.mu.Lock()
	f.table.slot(f.key(remote)).n = uint32(now / int64(time.Second))
	f.mu.Unlock()
}

// admits says whether a remote may answer.
func (f *permits) admits(remote netip.AddrPort, now int64) bool {
	f.mu.Lock()
	r := f.table.lookup(f.key(remote))
	ok := r != nil && now-int64(r.n)*int64(time.Second) < f.idle
	f.mu.Unlock()
	return ok
}

// memory is what the filter holds; there may be none.
func (f *permits) memory() int64 {
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.table.slots)) * int64(unsafe.Sizeof(remote{}))
}

func (f *permits) key(remote netip.AddrPort) netip.AddrPort {
	if f.ports {
		return remote
	}
	return netip.AddrPortFrom(remote.Addr(), 0)
}
