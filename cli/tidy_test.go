package cli

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// Memory is given back once after a load, when the half rests: not while it goes on, not
// in between, and not again while nothing happens.
func TestTidierGivesBackOnce(t *testing.T) {
	given := 0
	tidy := tidier{give: func() { given++ }}
	used := time.Duration(0)
	for i, look := range []struct {
		percent int // of a processor
		given   int
	}{{0, 0}, {1, 0}, {50, 0}, {200, 0}, {5, 0}, {1, 1}, {0, 1}, {5, 1}, {1, 1}, {9, 1}, {2, 2}} {
		used += tidyEvery * time.Duration(look.percent) / 100
		if tidy.look(used, tidyEvery); given != look.given {
			t.Errorf("look %d: given back %d times, not %d", i, given, look.given)
		}
	}
}

// What lies in a pool is gone after giveBack.
func TestGiveBackEmptiesPools(t *testing.T) {
	pool := sync.Pool{}
	gone := make(chan struct{})
	func() {
		kept := new([1 << 16]byte)
		runtime.AddCleanup(kept, func(struct{}) { close(gone) }, struct{}{})
		pool.Put(kept)
	}()
	giveBack()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Error("a pool has kept what nobody uses")
	}
	runtime.KeepAlive(&pool)
}

// The processor time of the process grows with what it does.
func TestProcessorTime(t *testing.T) {
	before := processorTime()
	for x, end := 1.0, time.Now().Add(20*time.Second); processorTime() < before+10*time.Millisecond; x *= 1.1 {
		if time.Now().After(end) {
			t.Fatalf("still %v after 20 s of work", processorTime()-before)
		}
	}
}
