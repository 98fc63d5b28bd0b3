package mux

import (
	"fmt"
	"slices"
	"time"

	"github.com/mpsocks/mpsocks/mux/amount"
	"github.com/mpsocks/mpsocks/mux/engine"
)

const (
	// backAfter is for how long a path has to work again before that is told.
	backAfter = 1e9
	// deathAfter is how long a path has to be dead before that is told: one that stalls for
	// a moment, as on a busy machine or a bad radio link, is not.
	deathAfter = 1e9
	// backLook is how often the monitor looks for a path that is to be told of, in ns.
	backLook = 1e9
)

// absences are the paths that died: a person at the server is told of those that stay dead, and
// then of their return. They are the monitor's.
type absences map[*engine.Path]*absence

// An absence has times of the session, in ns.
type absence struct {
	name  string // of the path, when it died
	died  int64
	moved int64 // how long it took until its flows had moved
	told  bool
	back  int64 // since when the path works again, 0 = it does not
}

// A tale is what there is to tell of a path.
type tale struct {
	path  string
	dead  bool  // it died; else it is back
	moved int64 // how long its flows took to move then, in ns
	text  string
}

// note begins an absence of a path, which has that name; moved is how long its flows took to move, in
// ns.
func (a *absences) note(path *engine.Path, name string, now, moved int64) {
	if *a == nil {
		*a = make(absences)
	}
	if (*a)[path] == nil {
		(*a)[path] = &absence{name: name, died: now, moved: moved}
	}
}

// death is what there is to tell of it.
func (b *absence) death() tale {
	b.told = true
	return tale{b.name, true, b.moved, fmt.Sprintf("path %s died: its flows moved to others", b.name)}
}

// due says what there is to tell of the paths that died and of those that are back, and
// forgets the latter, and those that are not configured any more. It is called with the
// engine's lock.
func (a absences) due(e *engine.Engine, now int64) (out []tale) {
	for path, b := range a {
		switch {
		case !slices.Contains(e.Paths(), path):
			if !b.told {
				out = append(out, b.death())
			}
			delete(a, path)
		case !works(path, b.died):
			if b.back = 0; !b.told && now-b.died >= deathAfter {
				out = append(out, b.death())
			}
		case b.back == 0:
			b.back = now
		case now-b.back >= backAfter:
			if b.told {
				from := ""
				if now := path.Name(); now != b.name {
					from = ", from " + now
				}
				out = append(out, tale{b.name, false, 0, fmt.Sprintf("path %s is back after %s%s", b.name, amount.Duration(time.Duration(b.back-b.died)), from)})
			}
			delete(a, path)
		}
	}
	return out
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
