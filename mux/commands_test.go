package mux

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// TestCommandsHaveARate: a subflow whose peer says options without end is cut, all subflows
// of a session together; at ten times the rate of an honest one none is.
func TestCommandsHaveARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Session{commands: newCommands()}
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

// TestCommandsOfAClientHaveARate: the sessions of a client that says options without end, each
// followed by the next when it is cut, are obeyed together; another session of the client, which
// says as much as one does, is not cut for that.
func TestCommandsOfAClientHaveARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all allowances
		next := func() *subflow {
			s := &Session{commands: newCommands()}
			s.commands.client = all.client([32]byte{1}).commands
			return &subflow{s: s}
		}
		o := &mptcp.Option{Subtype: mptcp.MPExperimental}
		o.Experimental.Type = probeUnsummed
		honest, n := next(), 0
		for range 10 {
			for range 8 { // of each of ten seconds
				f := next()
				for f.command(o) == nil {
					n++
				}
				for range fewCommands / 100 {
					if err := honest.command(o); err != nil {
						t.Fatalf("another session of the client: %v", err)
					}
				}
				time.Sleep(time.Second / 8)
			}
		}
		if most := clientCommandsAtOnce + 10*clientCommands + 80*2*fewCommands; n > most {
			t.Errorf("%d obeyed, of at most %d", n, most)
		}
	})
}
