package hands

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// spareFor is how long the spare processor stays after it was last asked for.
const spareFor = 10 * time.Second

// A Spare gives the process one processor more than there are (GOMAXPROCS) for as long as
// somebody stands in line for a hand. The runtime looks at the network when a processor of
// its has nothing to do, and else every 10 ms; the spare one sleeps in the kernel until
// something comes, and the system lets it run at once. At other times it would only cost.
type Spare struct {
	asked atomic.Bool // since the last look

	mu    sync.Mutex // guards the rest
	there bool
	set   func(more bool) // of the process; another one in tests
}

// NewSpare makes that of this process: there is one.
func NewSpare() *Spare {
	procs := runtime.GOMAXPROCS(0)
	return &Spare{set: func(more bool) {
		switch {
		case more:
			runtime.GOMAXPROCS(procs + 1)
		case os.Getenv("GOMAXPROCS") != "":
			runtime.GOMAXPROCS(procs)
		default:
			runtime.SetDefaultGOMAXPROCS() // which goes with the limits of a container
		}
	}}
}

// ask has it there. A nil *Spare never is.
func (s *Spare) ask() {
	if s == nil || s.asked.Load() || s.asked.Swap(true) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.there {
		s.there = true
		s.set(true)
		time.AfterFunc(spareFor, s.look)
	}
}

// look takes it away when nobody has asked since the last look.
func (s *Spare) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked.Swap(false) {
		time.AfterFunc(spareFor, s.look)
		return
	}
	s.there = false
	s.set(false)
}
