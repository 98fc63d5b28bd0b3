package lull

import (
	"sync/atomic"
	"testing"
	"time"
)

// alarms are one on Go's time and one on the kernel's, which are the same where there is none.
func alarms(t *testing.T, f func(t *testing.T, a *Alarm)) {
	for name, kernel := range map[string]bool{"go": false, "kernel": true} {
		t.Run(name, func(t *testing.T) {
			a := NewAlarm()
			defer a.Close()
			if kernel {
				a.Kernel()
				for range 2 { // who begins to wait looks around first
					a.Wait(time.Nanosecond)
				}
			}
			f(t, a)
		})
	}
}

// until waits for a ring, an hour at most; what is early is no ring.
func until(a *Alarm) {
	for !a.Wait(time.Hour) {
	}
}

func TestAlarmTime(t *testing.T) {
	alarms(t, func(t *testing.T, a *Alarm) {
		const in = 20 * time.Millisecond
		at := time.Now()
		for time.Since(at) < in {
			if a.Wait(in - time.Since(at)) {
				t.Fatal("nobody has rung")
			}
		}
	})
}

// Nobody who rings is forgotten, before the wait, while it begins, and while it goes on.
func TestAlarmRings(t *testing.T) {
	alarms(t, func(t *testing.T, a *Alarm) {
		a.Ring()
		a.Ring()
		until(a)
		var asked, done atomic.Int64
		const times = 2000
		go func() {
			for i := range int64(times) {
				asked.Store(i + 1)
				a.Ring()
				if i%7 == 0 {
					a.Put(time.Hour)
				}
				for i%3 == 0 && done.Load() <= i {
					time.Sleep(time.Microsecond)
				}
			}
		}()
		for done.Load() < times {
			until(a)
			done.Store(asked.Load())
		}
	})
}

// A sooner time takes the place of that which is waited for.
func TestAlarmSooner(t *testing.T) {
	a := NewAlarm()
	defer a.Close()
	a.Put(time.Hour) // no more than nothing
	if a.Kernel(); !a.Kernels() {
		t.Skip("no clock of the kernel's here")
	}
	until(a)
	over := make(chan struct{})
	go func() {
		defer close(over)
		a.Wait(time.Hour)
	}()
	for {
		select {
		case <-over:
			return
		case <-time.After(time.Millisecond):
			a.Put(0)
		}
	}
}

// Who waits on Go's time goes over to the kernel's, and a ring meanwhile is heard.
func TestAlarmGoesOver(t *testing.T) {
	for range 200 {
		a := NewAlarm()
		rung := make(chan struct{})
		var said atomic.Bool
		go func() {
			defer close(rung)
			defer a.Close()
			for !said.Load() {
				a.Wait(time.Hour)
			}
		}()
		go a.Kernel()
		go func() {
			said.Store(true)
			a.Ring()
		}()
		<-rung
	}
}

// What ended is not begun again, and may be rung.
func TestAlarmEnds(t *testing.T) {
	alarms(t, func(t *testing.T, a *Alarm) {
		a.Close()
		a.Kernel()
		a.Ring()
		a.Put(time.Second)
	})
}
