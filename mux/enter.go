package mux

import (
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/mux/engine"
)

// A guarded is an engine behind its lock, with the clock of its session. Nothing but enter
// touches it.
type guarded struct {
	mu    sync.Mutex
	e     *engine.Engine
	start time.Time

	joining int // subflows that are about to attach
}

// now is the session's clock: nanoseconds since it was made.
func (g *guarded) now() int64 { return int64(time.Since(g.start)) }

// enter calls f with the engine and the session's clock, under the session's lock. What
// the lock guards of the session itself is written and read in there, too. f makes no
// system call and waits for nothing; what it learns there it does afterwards.
func (g *guarded) enter(f func(e *engine.Engine, now int64)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(g.e, g.now())
}

// connOf returns the connection of an engine's subflow.
func connOf(f *engine.Subflow) *subflow { return f.Owner.(*subflow) }
