package client

import (
	"net/netip"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	// fragmentTime is the reassembly timer; RFC 1928, Section 7 wants no less
	// than five seconds.
	fragmentTime = 5 * time.Second
	// fragmentEnd marks the last fragment of a sequence; the other bits are its
	// position, 1 to 127.
	fragmentEnd = 0x80
	// maxReassemblies bounds all associations together: 128 times the largest
	// datagram is 8 MiB. Hardly any application sends fragments. One holder has half of
	// them at most.
	maxReassemblies = 128
)

// reassembly is a datagram of which not all fragments have come, RFC 1928,
// Section 7. It belongs to one association and is guarded by its mutex.
type reassembly struct {
	b       *buf.Buffer // the payload so far
	highest uint8       // position of the newest fragment
	to      netip.AddrPort
	host    string
	until   time.Time
}

// piece takes a datagram that is a fragment, or that comes while a sequence is
// open. It returns ok false if the datagram is used up; ok and nil if it stands
// alone and goes its way; and the whole payload, in a Buffer of the caller's, if
// it completes a sequence.
//
// A sequence is abandoned when its timer has expired, when a position comes
// again or is lower (a datagram that stands alone has position 0), and when one
// was skipped, since nothing can complete it then. a.mu is held.
func (a *association) piece(payload []byte, h *header, now *moment) (whole *buf.Buffer, ok bool) {
	position := h.frag &^ fragmentEnd
	r := a.fragments
	if r != nil && (position != r.highest+1 || r.to != h.to || r.host != string(h.host) || now.get().After(r.until) ||
		r.b.Len()+len(payload) > packet.MaxUDP6Payload) {
		a.abandon()
		a.client.drops.add(dropFragment)
		r = nil
	}
	switch {
	case h.frag == 0:
		return nil, true
	case r != nil:
	case position != 1 || len(payload) > packet.MaxUDP6Payload || !a.client.fragments.open(a, now.get()):
		a.client.drops.add(dropFragment)
		return nil, false
	default:
		r = &reassembly{b: buf.Get(0), to: h.to, host: string(h.host), until: now.get().Add(fragmentTime)}
		a.fragments = r
	}
	r.add(payload)
	r.highest = position
	if h.frag&fragmentEnd == 0 {
		return nil, false
	}
	a.fragments = nil
	a.client.fragments.close(a)
	return r.b, true
}

// add appends to the payload, moving it to a larger Buffer when need be.
func (r *reassembly) add(payload []byte) {
	n := r.b.Len()
	if n+len(payload) > r.b.Cap() {
		larger := buf.Get(n + len(payload))
		copy(larger.Bytes(), r.b.Bytes())
		r.b.Release()
		r.b = larger
	} else {
		r.b.Resize(n + len(payload))
	}
	copy(r.b.Bytes()[n:], payload)
}

// abandon gives up an open sequence. a.mu is held.
func (a *association) abandon() {
	if a.fragments == nil {
		return
	}
	a.fragments.b.Release()
	a.fragments = nil
	a.client.fragments.close(a)
}

// fragments knows which associations have an open sequence, for the cap and
// for the one timer of all. Lock order: an association's mutex, then this one.
type fragments struct {
	mu     sync.Mutex // guards all following fields
	active map[*association]time.Time
	by     map[admission.Holder]int // of them
	timer  *time.Timer              // or nil
}

// open admits a sequence.
func (f *fragments) open(a *association, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.active) >= maxReassemblies || f.by[a.holder] >= maxReassemblies/2 {
		return false
	}
	if f.active == nil {
		f.active, f.by = make(map[*association]time.Time), make(map[admission.Holder]int)
	}
	if len(f.active) == 0 {
		if f.timer == nil {
			f.timer = time.AfterFunc(fragmentTime, f.expire)
		} else {
			f.timer.Reset(fragmentTime)
		}
	}
	f.active[a] = now.Add(fragmentTime)
	f.by[a.holder]++
	return true
}

// close notes that a sequence ended.
func (f *fragments) close(a *association) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, there := f.active[a]; there {
		f.forget(a)
	}
}

// forget takes a sequence out of those that are known. f.mu is held.
func (f *fragments) forget(a *association) {
	delete(f.active, a)
	if f.by[a.holder]--; f.by[a.holder] == 0 {
		delete(f.by, a.holder)
	}
}

// expire abandons the sequences whose time is over; the timer calls it.
func (f *fragments) expire() {
	now := time.Now()
	var late []*association
	f.mu.Lock()
	next := fragmentTime
	for a, until := range f.active {
		if !now.Before(until) {
			late = append(late, a)
			f.forget(a) // now: the next one to begin has to find the timer free
		} else {
			next = min(next, until.Sub(now))
		}
	}
	if len(f.active) > 0 {
		f.timer.Reset(next)
	}
	f.mu.Unlock()
	for _, a := range late {
		a.mu.Lock()
		if a.fragments != nil && !now.Before(a.fragments.until) {
			a.client.drops.add(dropFragment)
			a.abandon()
		}
		a.mu.Unlock()
	}
}
