package mux

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mpsocks/mpsocks/mux/engine"
)

// A path whose death was told is told to be back when it has worked for a second, once; one
// that is not configured any more, or does not work, is not.
func TestAbsences(t *testing.T) {
	n := newLoopTunnel(t, 2, 1, nil)
	n.send(50, 1000, 200, nil)
	n.near.wait(t, 50)
	s := n.listener.Sessions()[0]
	var name string
	var heard int64
	s.enter(func(e *engine.Engine, _ int64) {
		for _, p := range e.Paths() {
			if p.HeardAt() > heard && len(p.Subflows()) > 0 {
				name, heard = p.Name(), p.HeardAt()
			}
		}
	})
	var a, dead, gone absences
	died := heard - 12e9
	a.note(name, died)
	a.note(name, died+5e9) // it is away already
	dead.note(name, 1<<62)
	gone.note("another", died)
	over := func(of absences, after int64) (lines []string) {
		s.enter(func(e *engine.Engine, _ int64) { lines = of.over(e, heard+after) })
		return lines
	}
	for _, step := range []struct {
		after int64
		want  []string
	}{{0, nil}, {9e8, nil}, {11e8, []string{"path " + name + " is back after 12 s"}}, {22e8, nil}} {
		if diff := cmp.Diff(step.want, over(a, step.after)); diff != "" {
			t.Errorf("after %d ms: %s", step.after/1e6, diff)
		}
		if lines := append(over(dead, step.after), over(gone, step.after)...); len(lines) > 0 {
			t.Errorf("%q", lines)
		}
	}
	if len(a)+len(gone) > 0 || len(dead) != 1 {
		t.Errorf("%d, %d and %d are left", len(a), len(gone), len(dead))
	}
}
