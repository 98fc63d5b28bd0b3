package cli

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// Memory is given back after a load: when the half rests, and again a few times, as what the
// load has left may be held for a while; also where a call goes on. Not while the load goes
// on, and not for ever.
func TestTidierGivesBack(t *testing.T) {
	given := 0
	tidy := newTidier(func() uint64 { return 20 << 20 }, func() { given++ })
	used := tidy.used
	for i, look := range []struct {
		percent int // of a processor
		given   int
	}{
		{0, 0},
		{1, 0},
		{5, 0},
		{50, 0},
		{200, 0},
		{1, 1},
		{0, 2},
		{0, 2},
		{1, 3},
		{0, 3},
		{0, 3},
		{0, 3},
		{0, 4},
		{0, 4},
		{5, 4},
		{0, 4},
		{0, 4},
		{0, 4},
		{0, 4},
		{0, 4},
		{0, 4},
		{0, 4},
		{0, 4},
		{9, 4},
		{5, 4},
		{5, 5},
		{5, 5},
		{5, 6},
		{9, 6},
		{2, 7},
	} {
		used += tidyEvery * time.Duration(look.percent) / 100
		if tidy.look(used, tidyEvery); given != look.given {
			t.Errorf("look %d: given back %d times, not %d", i, given, look.given)
		}
	}
}

// A load that used little of the processor is known by what it has left, once.
func TestTidierSeesWhatIsLeft(t *testing.T) {
	const mib = 1 << 20
	given, size := 0, uint64(0)
	tidy := newTidier(func() uint64 { return size }, func() { given++; size = 20 * mib })
	used := tidy.used
	for i, look := range []struct {
		percent int
		size    uint64
		given   int
	}{
		{0, 20 * mib, 0},
		{0, 22 * mib, 0},
		{7, 40 * mib, 0},
		{5, 40 * mib, 1},
		{0, 20 * mib, 1},
		{0, 20 * mib, 2},
		{0, 20 * mib, 2},
		{0, 20 * mib, 2},
		{0, 20 * mib, 2},
		{0, 20 * mib, 3},
		{0, 20 * mib, 3},
		{0, 22 * mib, 3},
		{1, 24 * mib, 4},
	} {
		used += tidyEvery * time.Duration(look.percent) / 100
		size = look.size
		if tidy.look(used, tidyEvery); given != look.given {
			t.Errorf("look %d: given back %d times, not %d", i, given, look.given)
		}
	}
}

// What memorySize says grows with what is used, and falls when it is given back.
func TestMemorySize(t *testing.T) {
	giveBack()
	before := memorySize()
	kept := make([]byte, 64<<20)
	for i := 0; i < len(kept); i += 4096 {
		kept[i] = 1
	}
	if now := memorySize(); now < before+60<<20 {
		t.Errorf("%d bytes, %d with 64 MiB more", before, now)
	}
	runtime.KeepAlive(kept)
	giveBack()
	if now := memorySize(); now > before+32<<20 {
		t.Errorf("%d bytes, %d when it is given back", before, now)
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
