package admission

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// files is how many descriptors a process has to have for applications to have so many of them.
func files(applications int) int { return applications + minReserve }

// TestDescriptorsKeepAReserve has applications take all that they may: a silent
// connection gives way, and what is free again is to be had.
func TestDescriptorsKeepAReserve(t *testing.T) {
	c, knock := New(t.Context(), nopLog, nil, files(4)), door(t)
	one, there := knock()
	if !c.Enter(there) || !c.Descriptors.Take(3) {
		t.Fatal("of four there are less")
	}
	for range 3 {
		here, there := knock()
		if c.Enter(there) || !ended(here) {
			t.Error("one comes in over the bound")
		}
	}
	if n := c.Descriptors.Refused(); n != 3 {
		t.Errorf("%d counted", n)
	}
	one.Close()
	there.Close()
	c.Leave(there)
	silent, quiet := knock()
	if !c.Enter(quiet) {
		t.Fatal("there is room again, and one does not come in")
	}
	c.Lobby.Enter(quiet)
	refused, there := knock()
	if c.Enter(there) || !ended(refused) || !ended(silent) {
		t.Error("who finds no room has made none for the next one")
	}
	c.Leave(quiet) // as who serves it has heard
	if _, there = knock(); !c.Enter(there) {
		t.Error("the next one does not come in")
	}
}

// TestOneHolderLeavesDescriptors: one user alone does not get all of them, and people outside get half.
func TestOneHolderLeavesDescriptors(t *testing.T) {
	const most = 32
	d := newDescriptors(nopLog, files(most))
	hold := func(user string) (n int) {
		for d.Hold(Holder{User: user}, 1) {
			n++
		}
		return n
	}
	if n := hold("greedy"); n != most-most/Reserve {
		t.Errorf("one user has %d of %d", n, most)
	}
	if n := hold("modest"); n != most/Reserve {
		t.Errorf("another one gets %d", n)
	}
	outside := 0
	for d.Admit() {
		outside++
	}
	if outside != most/outsideShare {
		t.Errorf("people outside get %d of %d", outside, most)
	}
	d.Dismiss()
	if !d.Admit() {
		t.Error("what one outside had is nobody's")
	}
}

// TestDescriptorsAreSaid: that programs are refused for want of them is a line of the log, and
// not one for each.
func TestDescriptorsAreSaid(t *testing.T) {
	var log bytes.Buffer
	d := newDescriptors(zerolog.New(&log), files(1))
	if !d.Take(1) || log.Len() > 0 {
		t.Fatalf("the first: %s", &log)
	}
	for range 5 {
		d.Take(1)
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "ulimit -n") {
		t.Errorf("five that were refused: %q", text)
	}
}
