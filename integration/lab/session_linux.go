package main

import (
	"context"
	"time"

	"github.com/mpsocks/mpsocks/integration/profiles"
)

// attempts is how often a session is run at most, when the emulator comes late in it.
const attempts = 3

// late is how late the emulator delivered, p99 in ms: the worst tenth of a second of the worst path. It
// says what the instrument did, not what it measured.
func (m *measurement) late() float64 {
	worst := 0.0
	for _, p := range m.Paths {
		worst = max(worst, p.LateP99)
	}
	return worst
}

// spoiled says whether the emulator came later than the tolerance. A failure is no such thing: it stands.
func (l *laboratory) spoiled(m *measurement) bool {
	return l.tolerance > 0 && m.Error == "" && m.late() > l.tolerance
}

// session measures the loads one after the other in one session, and again in others those in which the emulator came
// late. What is taken again follows the same loads as before, so that a session is as old. Only what makes any further
// measurement useless is returned; the rest is in the measurements.
func (l *laboratory) session(ctx context.Context, p *profiles.Profile, name string, of []*load, run int) error {
	kept := make([]*measurement, len(of))
	for n, i := len(of), 0; i < attempts && n > 0; i++ {
		again, err := l.attempt(ctx, p, name, of[:n], run)
		if err != nil {
			return err
		}
		n = 0
		for k, m := range again {
			var drop *measurement
			if kept[k], drop = l.better(kept[k], m); drop != nil {
				l.dropped = append(l.dropped, drop)
			}
			if l.spoiled(kept[k]) {
				n = k + 1
			}
		}
	}
	for _, m := range kept {
		l.add(m)
	}
	return nil
}

// better is which of two attempts counts: one that failed, otherwise the first that the emulator did not spoil, of
// spoiled ones the less so. The other one is dropped; none is if the second one was not needed.
func (l *laboratory) better(old, next *measurement) (kept, dropped *measurement) {
	switch {
	case old == nil:
		return next, nil
	case next.Error != "":
		return next, old
	case !l.spoiled(old):
		return old, nil // next was only there for the loads after it
	case next.late() < old.late():
		return next, old
	}
	return old, next
}

// attempt builds the network, brings the subject up in it and runs the loads one after the other.
func (l *laboratory) attempt(ctx context.Context, p *profiles.Profile, name string, of []*load, run int) ([]*measurement, error) {
	r, err := newRoom(p)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var s *subject
	if s, err = (stage{l.options, l.dir}).start(ctx, r.lab, p, name); err == nil {
		defer s.stop()
		err = s.ready(ctx, r.world, p)
	}
	var out []*measurement
	for i, w := range of {
		m := &measurement{Profile: p.Name, Load: w.name, Subject: name, Run: run}
		if err == nil {
			if i > 0 {
				pause(ctx, 500*time.Millisecond) // queues run empty
			}
			pause(ctx, l.rest)
			err := l.measure(ctx, r, p, s, w, m)
			if err != nil {
				m.Error = err.Error()
			}
		} else {
			m.Error = err.Error()
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		l.show(m)
		out = append(out, m)
	}
	return out, nil
}
