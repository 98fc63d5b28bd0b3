package ledger

import (
	"slices"
	"testing"
)

// check looks whether what holders have is what is in.
func (l *Ledger[H, T]) check(t *testing.T) {
	t.Helper()
	n := 0
	for h, own := range l.by {
		if own.Len() == 0 {
			t.Errorf("%v has nothing and is known", h)
		}
		n += own.Len()
	}
	if n != l.Len() {
		t.Errorf("holders have %d, and %d are in", n, l.Len())
	}
}

func TestLedger(t *testing.T) {
	var l Ledger[string, int]
	if _, ok := l.First(); ok {
		t.Error("an empty one has a first")
	}
	if who, n := l.Most(); who != "" || n != 0 || l.Held("a") != 0 {
		t.Errorf("%q has %d of an empty one", who, n)
	}
	var entries [6]Entry[string, int]
	for i, who := range []string{"a", "b", "a", "c", "a", "b"} {
		l.Add(&entries[i], who, i)
	}
	says := func(when string, all, ofA []int) {
		t.Helper()
		l.check(t)
		if got := slices.Collect(l.All()); !slices.Equal(got, all) {
			t.Errorf("%s: %v, want %v", when, got, all)
		}
		if got := slices.Collect(l.Of("a")); !slices.Equal(got, ofA) || l.Held("a") != len(ofA) {
			t.Errorf("%s: a has %v, want %v", when, got, ofA)
		}
	}
	says("added", []int{0, 1, 2, 3, 4, 5}, []int{0, 2, 4})
	if who, n := l.Most(); who != "a" || n != 3 {
		t.Errorf("%q has most, %d", who, n)
	}
	l.Touch(&entries[0])
	says("used", []int{1, 2, 3, 4, 5, 0}, []int{2, 4, 0})
	l.Move(&entries[3], "a")
	says("moved", []int{1, 2, 3, 4, 5, 0}, []int{2, 4, 0, 3})
	if _, ok := l.FirstOf("c"); ok || l.Held("c") != 0 {
		t.Error("c still has what was moved")
	}
	l.Remove(&entries[2])
	l.Remove(&entries[2])
	says("removed", []int{1, 3, 4, 5, 0}, []int{4, 0, 3})
	if first, ok := l.First(); !ok || first != 1 {
		t.Errorf("%d is the first", first)
	}
	if first, ok := l.FirstOf("a"); !ok || first != 4 {
		t.Errorf("%d is a's first", first)
	}
	for i := range l.All() { // what is at hand may go
		l.Remove(&entries[i])
	}
	says("emptied", nil, nil)
	l.Add(&entries[2], "b", 7)
	says("begun anew", []int{7}, nil)
}
