package cli

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	// tidyEvery is how often a half looks at how busy it was.
	tidyEvery = 8 * time.Second
	// A half was busy when it has used more than this part of a processor since the last
	// look, and rests when it has used less than that.
	busyPart = 0.08
	restPart = 0.03
)

// A tidier gives the system back what a load has left in pools, once the half rests: the
// runtime would do it too, but only after the two collections that empty a pool, which it
// makes every two minutes when nothing is allocated.
type tidier struct {
	used time.Duration // processor time of the process at the last look
	owed bool          // it was busy since it last gave memory back
	give func()
}

// tidy looks until ctx ends; the half starts it in a goroutine of its own.
func (h *half) tidy(ctx context.Context) {
	t := tidier{used: processorTime(), give: giveBack}
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
	switch {
	case part > busyPart:
		t.owed = true
	case part < restPart && t.owed:
		t.owed = false
		t.give()
	}
}

// giveBack collects twice, as what is in a pool outlives one collection.
func giveBack() {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
}
