package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// tally is what became of all traffic of one kind.
type tally struct {
	begun             int // flows or streams
	sent, came        int // datagrams, or bytes
	lostDown          int // datagrams lost while nothing was up
	reset, refused    int // streams, while that is nobody's fault
	lost, alter, dupe int // faults
}

// report collects what happened. It is safe for concurrent use.
type report struct {
	begin time.Time

	mu     sync.Mutex // guards the rest
	kinds  map[string]*tally
	faults []string
}

func newReport() *report { return &report{begin: time.Now(), kinds: map[string]*tally{}} }

// say prints a line with the time since the beginning.
func (r *report) say(format string, args ...any) {
	fmt.Printf("%8.1fs  %s\n", time.Since(r.begin).Seconds(), fmt.Sprintf(format, args...))
}

// fault is said at once and at the end.
func (r *report) fault(format string, args ...any) {
	text := fmt.Sprintf("%.1fs: %s", time.Since(r.begin).Seconds(), fmt.Sprintf(format, args...))
	r.mu.Lock()
	r.faults = append(r.faults, text)
	r.mu.Unlock()
	r.say("FAULT: %s", fmt.Sprintf(format, args...))
}

// count changes the tally of a kind.
func (r *report) count(kind string, f func(t *tally)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.kinds[kind]
	if t == nil {
		t = &tally{}
		r.kinds[kind] = t
	}
	f(t)
}

// print writes the tables, and says whether there was no fault.
func (r *report) print() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var datagrams, streams []string
	for k := range r.kinds {
		if strings.HasPrefix(k, "stream ") {
			streams = append(streams, k)
		} else {
			datagrams = append(datagrams, k)
		}
	}
	slices.Sort(datagrams)
	slices.Sort(streams)
	fmt.Printf("\n%-18s %6s %9s %9s %15s %5s %8s %8s\n", "associations", "number", "sent", "came", "lost, none up", "lost", "altered", "doubled")
	for _, k := range datagrams {
		t := r.kinds[k]
		fmt.Printf("%-18s %6d %9d %9d %15d %5d %8d %8d\n", k, t.begun, t.sent, t.came, t.lostDown, t.lost, t.alter, t.dupe)
	}
	fmt.Printf("\n%-18s %6s %9s %20s %22s\n", "CONNECTs", "number", "kB right", "reset with session", "refused, none up")
	for _, k := range streams {
		t := r.kinds[k]
		fmt.Printf("%-18s %6d %9d %20d %22d\n", strings.TrimPrefix(k, "stream "), t.begun, t.came/1000, t.reset, t.refused)
	}
	fmt.Printf("\n%d faults\n", len(r.faults))
	for _, f := range r.faults {
		fmt.Println("  " + f)
	}
	return len(r.faults) == 0
}
