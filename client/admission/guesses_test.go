package admission

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/mux/gate"
)

func at(host string) guessLine { return guessLine{home: gate.Home(netip.MustParseAddr(host))} }

// guess tries a password in virtual time, as login does.
func (g *guesses) guess(from guessLine, user string, right bool) (looked bool) {
	wait, ok := g.turn(from, user, time.Now())
	if !ok {
		return false
	}
	time.Sleep(wait)
	g.result(from, user, right, time.Now())
	return true
}

func TestGuessesGrowSlower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuesses()
		begin := time.Now()
		for range guessFree {
			g.guess(at("192.0.2.1"), "ann", false)
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("%d mistakes cost %v", guessFree, d)
		}
		// One after the other, for an hour.
		n := 0
		for begin = time.Now(); time.Since(begin) < time.Hour; n++ {
			g.guess(at("192.0.2.1"), "ann", false)
		}
		if n > 1300 {
			t.Errorf("%d guesses an hour", n)
		}
		// An honest login is slow once, and forgiven after a while.
		time.Sleep(time.Duration(n+2*guessFree) * guessForget)
		begin = time.Now()
		g.guess(at("192.0.2.1"), "ann", true)
		if d := time.Since(begin); d != 0 {
			t.Errorf("a login long after costs %v", d)
		}
		if len(g.lines) != 0 {
			t.Errorf("%d lines are left", len(g.lines))
		}
	})
}

// TestGuessesInParallel tries from many connections at once, which hang up
// without waiting, and under many names.
func TestGuessesInParallel(t *testing.T) {
	for _, user := range []string{"ann", ""} {
		synctest.Test(t, func(t *testing.T) {
			g := newGuesses()
			looked := 0
			done := make(chan bool, 100000)
			for i := range 60 {
				for j := range 500 {
					name := user
					if name == "" {
						name = fmt.Sprint(i, j)
					}
					go func() { done <- g.guess(at("192.0.2.1"), name, false) }()
				}
				time.Sleep(time.Second)
			}
			synctest.Wait()
			for range 60 * 500 {
				if <-done {
					looked++
				}
			}
			// A burst before the first answer is known, then one in 3 s.
			if looked > 150 {
				t.Errorf("%d of 30000 were looked at in a minute", looked)
			}
			if len(g.lines) > maxGuesses {
				t.Errorf("%d lines", len(g.lines))
			}
		})
	}
}

// TestGuessesKeepNobodyOut has strangers guess a user's password from everywhere:
// who has been that user before logs in as ever, and others at other addresses too.
func TestGuessesKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuesses()
		g.guess(at("192.0.2.7"), "ann", true)
		for i := range 200 {
			go g.guess(at(fmt.Sprintf("198.51.100.%d", i)), "ann", false)
		}
		time.Sleep(10 * time.Millisecond)
		begin := time.Now()
		if !g.guess(at("192.0.2.7"), "ann", true) || time.Since(begin) != 0 {
			t.Errorf("ann at home waits %v", time.Since(begin))
		}
		if !g.guess(at("192.0.2.8"), "bob", true) || time.Since(begin) != 0 {
			t.Errorf("bob waits %v", time.Since(begin))
		}
		time.Sleep(time.Minute) // the guessers end
	})
}

// Whoever has had the right password is remembered, all as long as there is room.
func TestTrustIsBounded(t *testing.T) {
	g := newGuesses()
	for i := range maxGuesses {
		g.result(at("192.0.2.7"), fmt.Sprint(i), true, time.Now())
	}
	if len(g.trusted) != maxGuesses {
		t.Errorf("of %d lines %d are trusted", maxGuesses, len(g.trusted))
	}
	g.result(at("192.0.2.7"), "one more", true, time.Now())
	if len(g.trusted) != maxGuesses {
		t.Errorf("%d lines are trusted", len(g.trusted))
	}
}
