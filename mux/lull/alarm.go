package lull

import (
	"sync"
	"sync/atomic"
	"time"
)

// An Alarm is what one goroutine waits for that has something to do at times: that a time has
// passed, or that somebody rings. Where the time is the kernel's it waits in Go's poller, so
// that whoever rings goes on, and the same thread then finds that it rang: a channel, as a
// timer of Go's, has another thread woken.
type Alarm struct {
	rung  atomic.Bool
	bell  chan struct{} // 1 slot; without a clock
	timer *time.Timer   // so, too
	clock atomic.Pointer[clock]
	said  func() bool

	mu   sync.Mutex // guards the rest; held for no call that waits
	over bool
}

// NewAlarm makes one that runs on Go's time. Its owner, who waits, calls Close at the end.
func NewAlarm() *Alarm {
	a := &Alarm{bell: make(chan struct{}, 1)}
	a.said = a.rung.Load
	return a
}

// Kernel has it run on the kernel's time from now on, where there is one and a descriptor for
// it; any goroutine may call it, and again.
func (a *Alarm) Kernel() {
	if a.clock.Load() != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over || a.clock.Load() != nil {
		return
	}
	if c := newClock(); c != nil {
		a.clock.Store(c)
		a.rung.Store(true)
		a.chime() // who waits does so on the other
	}
}

// Kernels says that it runs on the kernel's time.
func (a *Alarm) Kernels() bool { return a.clock.Load() != nil }

// Wait returns when that time has passed, or as soon as somebody has rung since the last time
// that it returned: then rung is true. It may return early.
func (a *Alarm) Wait(in time.Duration) (rung bool) {
	if c := a.clock.Load(); c != nil {
		if c.wait(in, a.said) {
			return a.rung.Swap(false)
		}
		a.clock.Store(nil) // no more
		c.close()
		if a.rung.Swap(false) {
			return true
		}
	}
	if a.timer == nil {
		a.timer = time.NewTimer(in)
	} else {
		a.timer.Reset(in)
	}
	select {
	case <-a.bell:
	case <-a.timer.C:
	}
	a.timer.Stop()
	return a.rung.Swap(false)
}

// Put has who waits do so for that long from now, whatever was said to Wait. Without the
// kernel's time it does nothing.
func (a *Alarm) Put(in time.Duration) {
	c := a.clock.Load()
	if c == nil {
		return
	}
	c.set(in)
	if a.rung.Load() { // that may have been overwritten
		c.set(0)
	}
}

// Ring has Wait return; any goroutine may call it, at any time.
func (a *Alarm) Ring() {
	if a.rung.Swap(true) {
		return
	}
	if c := a.clock.Load(); c != nil {
		c.set(0)
		return
	}
	a.chime()
}

func (a *Alarm) chime() {
	select {
	case a.bell <- struct{}{}:
	default:
	}
}

// Close ends it. Nobody waits any more; others may still ring.
func (a *Alarm) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	if c := a.clock.Load(); c != nil {
		c.close()
	}
}
