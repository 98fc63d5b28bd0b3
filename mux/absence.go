package mux

import (
	"fmt"
	"time"

	"github.com/mpsocks/mpsocks/mux/amount"
	"github.com/mpsocks/mpsocks/mux/engine"
)

const (
	// backAfter is for how long a path has to work again before that is told.
	backAfter = 1e9
	// backLook is how often the monitor looks for a path that is to come back, in ns.
	backLook = 1e9
)

// absences are the paths whose deaths a person at the server was told, so that the
// returns are told as well. They are the monitor's.
type absences map[string]*absence

// An absence has times of the session, in ns.
type absence struct {
	died int64
	back int64 // since when the path works again, 0 = it does not
}

// note begins an absence.
func (a *absences) note(path string, now int64) {
	if *a == nil {
		*a = make(absences)
	}
	if (*a)[path] == nil {
		(*a)[path] = &absence{died: now}
	}
}

// over says what there is to tell of the paths that are back, and forgets them, and those
// that are not configured any more. It is called with the engine's lock.
func (a absences) over(e *engine.Engine, now int64) (lines []string) {
	for name, b := range a {
		var path *engine.Path
		for _, p := range e.Paths() {
			if p.Name() == name {
				path = p
			}
		}
		switch {
		case path == nil:
			delete(a, name)
		case !works(path, b.died):
			b.back = 0
		case b.back == 0:
			b.back = now
		case now-b.back >= backAfter:
			lines = append(lines, fmt.Sprintf("path %s is back after %s", name, amount.Duration(time.Duration(b.back-b.died))))
			delete(a, name)
		}
	}
	return lines
}

// works says that the path has a subflow that is well, and was heard of since then.
func works(p *engine.Path, since int64) bool {
	if p.State() != engine.PathUp || p.HeardAt() <= since {
		return false
	}
	for _, f := range p.Subflows() {
		if st := f.State(); !st.Stale() && st != engine.Ended {
			return true
		}
	}
	return false
}
