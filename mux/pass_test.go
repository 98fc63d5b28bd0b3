package mux

import (
	"context"
	"testing"
	"testing/synctest"
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

// What waits while there is no subflow waits for one: a machine without a network is not woken
// for it all night.
func TestMonitorSleepsWithoutSubflows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(sessionConfig{client: true, handler: newCollector()})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.monitor.run(ctx)
		for i := range uint64(5000) {
			sendOne(s, i, 200)
			time.Sleep(2 * time.Millisecond)
		}
		if n := s.monitor.ticks.Load(); n == 0 || n > 10*5 {
			t.Errorf("%d ticks in ten seconds while datagrams come", n)
		}
		before := s.monitor.ticks.Load()
		time.Sleep(time.Minute)
		if n := s.monitor.ticks.Load() - before; n > 60*5 {
			t.Errorf("%d ticks in a minute while datagrams wait", n)
		}
	})
}
