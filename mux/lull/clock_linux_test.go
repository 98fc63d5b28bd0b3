package lull

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A time that is set takes the place of the one before, later or sooner.
func TestClockIsPut(t *testing.T) {
	c := newClock()
	if c == nil {
		t.Skip("no descriptor for a clock")
	}
	for _, in := range []time.Duration{time.Hour, 3 * time.Hour, 2 * time.Hour} {
		if !c.set(in) {
			t.Fatal("it cannot be set")
		}
		var left unix.ItimerSpec
		if err := unix.TimerfdGettime(c.fd, &left); err != nil {
			t.Fatal(err)
		}
		if d := time.Duration(left.Value.Nano()); d > in || d < in-time.Hour/2 {
			t.Errorf("set to %v, and %v are left", in, d)
		}
	}
	c.close()
	if c.set(time.Second) {
		t.Error("it can be set after its end")
	}
}
