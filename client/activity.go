package client

import "sync/atomic"

// An activity is whether something moves, as the sweeps see it.
type activity struct {
	moved atomic.Bool // since the last sweep
	still int         // sweeps without; of who sweeps
}

// note notes that something has moved. Any goroutine may call it.
func (a *activity) note() {
	if !a.moved.Load() { // a cache line that many read is written once a sweep
		a.moved.Store(true)
	}
}

// over is asked once a sweep, and says that so many of them have seen nothing move.
func (a *activity) over(most int) bool {
	if a.moved.Swap(false) {
		a.still = 0
		return false
	}
	a.still++
	return a.still >= most
}
