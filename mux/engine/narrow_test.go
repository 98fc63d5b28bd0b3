package engine

import "testing"

// A path is narrow when it has brought something since one of its subflows stalled, and not when a
// busy machine reads late what came before.
func TestNarrow(t *testing.T) {
	const at = 5e9
	for _, c := range []struct {
		name         string
		state        State
		outstanding  int
		heard, asked int64
		narrow       bool
	}{
		{"all move", Moving, 9, at + 1e9, at + 1e9, false},
		{"nothing is under way", Stalled, 0, at + 1e9, at + 1e9, false},
		{"nothing comes", Stalled, 9, at - 1, at - 1e9, false},
		{"what had come was read late", Stalled, 9, at + lateRead/2, at - 1e6, false},
		{"what was asked before was answered late", Stalled, 9, at + lateRead/2, at - 1, false},
		{"what was asked since was answered", Stalled, 9, at + 30e6, at + 1e6, true},
		{"something comes all the time", Stalled, 9, at + lateRead + 1, 0, true},
		{"another is dialled in its place", Lost, 9, at + 1e9, 0, true},
	} {
		p := &Path{heard: c.heard}
		stalled := &Subflow{path: p, state: c.state, staleAt: at}
		stalled.tx.outstanding = c.outstanding
		p.subs = []*Subflow{stalled, {path: p, replied: c.asked}}
		if got := p.Narrow(); got != c.narrow {
			t.Errorf("%s: narrow is %v", c.name, got)
		}
	}
}
