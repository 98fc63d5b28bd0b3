package mux

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mpsocks/mpsocks/mux/engine"
)

// A path's death is told when it has lasted for a second, and that it is back when it has worked
// for a second, once; one that only stalls for a moment is not told of.
func TestAbsences(t *testing.T) {
	n := newLoopTunnel(t, 2, 1, nil)
	n.send(50, 1000, 200, nil)
	n.near.wait(t, 50)
	s := n.listener.Sessions()[0]
	var path *engine.Path
	var name string
	var heard int64
	s.enter(func(e *engine.Engine, _ int64) {
		for _, p := range e.Paths() {
			if p.HeardAt() > heard && len(p.Subflows()) > 0 {
				path, name, heard = p, p.Name(), p.HeardAt()
			}
		}
	})
	var a, twitch, dead, gone absences
	a.note(path, name, heard-12e9, 17e6)
	a.note(path, name, heard-7e9, 17e6) // it is away already
	twitch.note(path, name, heard-1e8, 17e6)
	dead.note(path, name, heard+1e8, 17e6) // not heard of since
	gone.note(new(engine.Path), "another", heard, 17e6)
	due := func(of absences, at int64) (lines []string) {
		s.enter(func(e *engine.Engine, _ int64) {
			for _, t := range of.due(e, at) {
				lines = append(lines, t.text)
			}
		})
		return lines
	}
	died := func(name string) []string {
		return []string{"path " + name + " died: its flows moved to others"}
	}
	a[path].told = true
	for _, step := range []struct {
		after                 int64
		a, twitch, dead, gone []string
	}{
		{0, nil, nil, nil, died("another")},
		{9e8, nil, nil, nil, nil},
		{12e8, []string{"path " + name + " is back after 12 s"}, nil, died(name), nil},
		{23e8, nil, nil, nil, nil},
	} {
		for _, c := range []struct {
			of   absences
			want []string
		}{{a, step.a}, {twitch, step.twitch}, {dead, step.dead}, {gone, step.gone}} {
			if diff := cmp.Diff(c.want, due(c.of, heard+step.after)); diff != "" {
				t.Errorf("after %d ms: %s", step.after/1e6, diff)
			}
		}
	}
	if len(a)+len(twitch)+len(gone) > 0 || len(dead) != 1 {
		t.Errorf("%d, %d, %d and %d are left", len(a), len(twitch), len(gone), len(dead))
	}
}
