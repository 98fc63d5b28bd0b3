package cli

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// tidyEvery is how often a half looks at how busy it was.
	tidyEvery = 8 * time.Second
	// A half was busy when it has used more than this part of a processor since the last
	// look, and rests when it has used less than that.
	busyPart = 0.08
	restPart = 0.03
	// tidyLast is how many looks after a load memory is given back for the last time: more
	// than a minute, in which a closed stream may have held what it had to send.
	tidyLast = 8
	// tidyGrown is how many bytes the process may have grown, since it gave memory back, by what
	// used little of the processor: a load of a second, or one on a busy machine.
	tidyGrown = 3 << 20
)

// A tidier gives the system back what a load has left in pools, once the half is no longer
// busy: the runtime would do it too, but only after the two collections that empty a pool,
// which it makes every two minutes when nothing is allocated. What a load leaves is not all
// free at once: who closes a stream need not have heard of what it sends, and a pool takes
// that later. So it gives back again, after two, four and eight looks; it costs two
// collections of a small heap each time.
type tidier struct {
	used time.Duration // processor time of the process at the last look
	calm int           // looks since it was busy; more than tidyLast = all is done
	base uint64        // bytes of memory when that was so; 0 = not known
	size func() uint64 // now
	give func()
}

// newTidier makes one that has nothing to give back yet.
func newTidier(size func() uint64, give func()) *tidier {
	return &tidier{used: processorTime(), calm: tidyLast + 1, size: size, give: give}
}

// tidy looks until ctx ends; the half starts it in a goroutine of its own.
func (h *half) tidy(ctx context.Context) {
	t := newTidier(memorySize, giveBack)
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.look(processorTime(), tidyEvery)
		case <-ctx.Done():
			return
		}
	}
}

// look takes the processor time that the process has used, and how long the last look is
// ago.
func (t *tidier) look(used, passed time.Duration) {
	part := float64(used-t.used) / float64(passed)
	t.used = used
	if part > busyPart {
		t.calm = 0
		return
	}
	if t.calm > tidyLast {
		size := t.size()
		if t.base == 0 {
			t.base = size
		}
		if size <= t.base+tidyGrown {
			return
		}
		t.calm = 0
	}
	// A call that goes on is no reason to keep what a download has left.
	if t.calm++; t.calm&(t.calm-1) == 0 && (t.calm > 1 || part < restPart) {
		t.give()
		t.base = t.size()
	}
}

// memorySize is how many bytes of memory the runtime has of the system.
func memorySize() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// giveBack collects twice, as what is in a pool outlives one collection.
func giveBack() {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
}
