package server

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// exits is the table of all CONNECTs, for their idle timers, for what the kernel holds for
// them, and for the end of those that end together.
type exits struct {
	idle  time.Duration              // streamIdle
	holds func(c tcpio.Socket) int64 // kernelHolds; another one in tests
	share atomic.Int64               // what the kernel may hold for a client each way, bytes

	mu  sync.Mutex // guards all, and the places in it
	all []*exit
}

// add lists one, which ends at once where its session has ended.
func (t *exits) add(e *exit, now int64) {
	e.moved = now
	t.mu.Lock()
	e.place = len(t.all)
	t.all = append(t.all, e)
	e.peer.beside.Add(exitMemory)
	t.mu.Unlock()
	if e.ctx.Err() != nil {
		e.kill()
	}
}

func (t *exits) remove(e *exit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle(e, 0)
	e.peer.beside.Add(-exitMemory)
	last := len(t.all) - 1
	t.all[e.place] = t.all[last]
	t.all[e.place].place = e.place
	t.all[last] = nil
	t.all = t.all[:last]
	e.place = -1
}

// expire ends the connections on which nothing has moved for too long. The
// sweeper calls it; the system is asked only about those that may be idle.
func (t *exits) expire(now int64) {
	var idle []*exit
	t.mu.Lock()
	for _, e := range t.all {
		if e.active.Swap(false) {
			e.moved = now
		}
		if now-e.moved > int64(t.idle) {
			idle = append(idle, e)
		}
	}
	t.mu.Unlock()
	for _, e := range idle {
		c := e.conn()
		if c == nil {
			continue // the request and dialling have their own time limits
		}
		if quiet, ok := quietTime(c); ok {
			e.moved = max(e.moved, now-int64(quiet))
		}
		if now-e.moved > int64(t.idle) {
			e.kill()
		}
	}
}

const (
	// endsAtOnce is how many CONNECTs that end together are ended at once, endsPause the time
	// between, and endsMost how often that is, about: each takes some 50 us, its goroutines
	// wake up for it, and a client may have thousands.
	endsAtOnce, endsMost = 8, 256
	endsPause            = 500 * time.Microsecond
)

// end resets the CONNECTs that match, a few at a time.
func (t *exits) end(match func(*exit) bool) {
	var all []*exit
	t.mu.Lock()
	for _, e := range t.all {
		if match(e) {
			all = append(all, e)
		}
	}
	t.mu.Unlock()
	portion := max(endsAtOnce, len(all)/endsMost)
	for i, e := range all {
		if i > 0 && i%portion == 0 {
			time.Sleep(endsPause)
		}
		e.kill()
	}
}

// asked is what the live CONNECTs are to, by the client's end inside the tunnel.
func (t *exits) asked() map[string]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[string]string, len(t.all))
	for _, e := range t.all {
		to := e.asked.Load()
		at, err := netip.ParseAddrPort(e.stream.RemoteAddr().String())
		if to != nil && err == nil {
			out[at.String()] = *to
		}
	}
	return out
}
