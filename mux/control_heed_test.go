package mux

import (
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// TestCommandsHaveARate: who says options without end is read slowly, all its subflows
// together, and one that is closed meanwhile does not wait.
func TestCommandsHaveARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Session{commands: rate.NewLimiter(commandsEach, commandsAtOnce)}
		one, other := &subflow{s: s, dead: make(chan struct{})}, &subflow{s: s, dead: make(chan struct{})}
		took := func(f *subflow, n int) time.Duration {
			begin := time.Now()
			f.heed(n)
			return time.Since(begin)
		}
		if d := took(one, commandsAtOnce); d != 0 {
			t.Errorf("what is allowed at once took %v", d)
		}
		if d := took(other, 3*commandsEach); d < 2900*time.Millisecond || d > 3100*time.Millisecond {
			t.Errorf("three seconds' worth on another subflow took %v", d)
		}
		go func() {
			time.Sleep(time.Second)
			close(one.dead)
		}()
		if d := took(one, 100*commandsAtOnce); d != time.Second {
			t.Errorf("a subflow that was closed after a second waited %v", d)
		}
	})
}
