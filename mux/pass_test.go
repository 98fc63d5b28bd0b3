package mux

import (
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/engine"
)

// A reader ticks in the stead of the monitor's goroutine if the next one would come too late,
// and where it would not, leaves it to that one; so it does where readers are awake all the time.
func TestReadersTick(t *testing.T) {
	s := newSession(sessionConfig{client: true, handler: newCollector()})
	m := &s.monitor
	defer m.alarm.Close()
	if m.alarm.Kernel(); !m.alarm.Kernels() {
		t.Skip("no clock of the kernel's here")
	}
	now := int64(time.Hour)
	for _, c := range []struct {
		name     string
		gap, due int64 // ns since the last reader came by, and until the next tick
		last     int64 // ns since the last one
		calm     bool
		ticks    bool
	}{
		{"the next one is in time", 2e6, 5e6, 20e6, true, false},
		{"the next one is late", 2e6, 1e6, 20e6, true, true},
		{"it is late already", 2e6, -1e6, 20e6, true, true},
		{"fifty a second", 20e6, 10e6, 20e6, true, true},
		{"there was a tick", 20e6, 10e6, 1e6, true, false},
		{"bulk, and readers that rest", 1e6, 0.5e6, 4.5e6, false, true},
		{"a flood", 20e3, -1e6, 20e6, false, false},
	} {
		before := m.ticks.Load()
		m.calm.Store(c.calm)
		m.due.Store(now + c.due)
		m.passed.Store(now - c.gap)
		m.last = now - c.last
		m.pass(now)
		if ticked := m.ticks.Load() != before; ticked != c.ticks {
			t.Errorf("%s: ticked is %v", c.name, ticked)
		} else if ticked && m.due.Load() < now+engine.TickBusy {
			t.Errorf("%s: the next tick is due in %d ns", c.name, m.due.Load()-now)
		}
	}
}

// The monitor's goroutine that wakes though a reader has ticked in its stead goes on sleeping,
// unless it was hurried.
func TestMonitorSleepsOn(t *testing.T) {
	s := newSession(sessionConfig{client: true, handler: newCollector()})
	m := &s.monitor
	defer m.alarm.Close()
	m.due.Store(s.core.now() + int64(time.Hour))
	if next := m.step(false); m.ticks.Load() != 0 || next <= int64(time.Minute) {
		t.Errorf("%d ticks, the next in %d ns", m.ticks.Load(), next)
	}
	if m.step(true); m.ticks.Load() != 1 {
		t.Errorf("%d ticks where one was wanted at once", m.ticks.Load())
	}
}
