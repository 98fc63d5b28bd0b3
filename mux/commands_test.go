package mux

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// TestCommandsHaveARate: a subflow whose peer says options without end is cut, all subflows
// of a session together; at ten times the rate of an honest one none is.
func TestCommandsHaveARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Session{commands: rate.NewLimiter(commandsEach, commandsAtOnce)}
		one, other := &subflow{s: s}, &subflow{s: s}
		unknown := &mptcp.Option{Subtype: mptcp.MPExperimental}
		unknown.Experimental.Type = probeUnsummed
		for second := range 10 {
			for i := range commandsEach / 10 {
				if err := one.command(unknown); err != nil {
					t.Fatalf("cut in second %d after %d: %v", second, i, err)
				}
			}
			time.Sleep(time.Second / 10)
		}
		n := 0
		for f := one; ; f = other {
			if err := f.command(unknown); err != nil {
				if !errors.Is(err, errCommands) {
					t.Error(err)
				}
				break
			}
			if n++; n > 2*commandsAtOnce {
				t.Fatal("options without end are obeyed")
			}
		}
		if n < commandsAtOnce*9/10 {
			t.Errorf("cut after %d at once, of %d", n, commandsAtOnce)
		}
	})
}
