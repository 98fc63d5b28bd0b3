package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// What can go wrong.
const (
	silent   = "silent death of a path"           // it swallows everything
	unplug   = "a path is unplugged"              // its device goes down
	renumber = "a path gets another address"      //
	lossy    = "30 % loss on a path"              //
	blackout = "every path is dead"               // some silent, some unplugged
	restart  = "the server is killed"             // and started again
	leave    = "the server ends"                  // by SIGTERM, and is started again
	sleepC   = "the client is suspended"          // SIGSTOP
	sleepS   = "the server is suspended"          //
	oneName  = "one name server is silent"        //
	noNames  = "all name servers are silent"      //
	badNames = "all name servers answer SERVFAIL" //
)

// starting is the time before everything is up for the first time.
const starting = "everything is being started"

// standstill is no event: the machine did something else.
const standstill = "the machine stood still"

// kinds is one round of events: every round has each once, in an order of its own, and
// the common ones twice.
var kinds = []string{
	silent, silent, unplug, unplug, renumber, renumber, lossy, lossy,
	blackout, restart, leave, sleepC, sleepS, oneName, noNames, badNames,
}

// nothingUp says whether no path, no client or no server is there meanwhile: only then
// may datagrams be lost.
func nothingUp(kind string) bool {
	return slices.Contains([]string{blackout, restart, leave, sleepC, sleepS, starting, standstill}, kind)
}

// noName says whether names cannot be asked for meanwhile.
func noName(kind string) bool { return kind == noNames || kind == badNames }

// An event is one thing that goes wrong, from at on, for a time.
type event struct {
	at, lasts time.Duration
	kind      string
	path      int // of events of one path
}

func (e *event) String() string {
	if e.kind == renumber {
		return fmt.Sprintf("%s (%c)", e.kind, 'a'+e.path)
	}
	text := fmt.Sprintf("%s for %v", e.kind, e.lasts.Round(10*time.Millisecond))
	if ofPath(e.kind) {
		text = fmt.Sprintf("%s (%c) for %v", e.kind, 'a'+e.path, e.lasts.Round(10*time.Millisecond))
	}
	return text
}

func ofPath(kind string) bool {
	return kind == silent || kind == unplug || kind == renumber || kind == lossy
}

// A pace is how fast things go wrong, by the length of a run.
type pace struct {
	unit    time.Duration // what the lengths of events are multiples of
	suspend time.Duration
	// settle is how long a path that is well again does not count as one that is up: it
	// has to be dialled first.
	settle time.Duration
	// recover is what is kept free of events after one in which nothing was up.
	recover time.Duration
}

func paceOf(length time.Duration) pace {
	clamp := func(d, low, high time.Duration) time.Duration { return min(max(d, low), high) }
	return pace{
		unit:    clamp(length/60, time.Second, 8*time.Second),
		suspend: clamp(length/12, 5*time.Second, 90*time.Second),
		settle:  clamp(length/60, 4*time.Second, 8*time.Second),
		recover: clamp(length/20, 6*time.Second, 12*time.Second),
	}
}

// plan draws all events of a run. Outside of those with nothing up, one path at least
// is well, and has been for as long as it takes to settle.
func plan(seed uint64, length time.Duration, paths int) []event {
	r := rand.New(rand.NewPCG(seed, 1))
	p := paceOf(length)
	var out []event
	well := make([]time.Duration, paths) // from when on each path is up
	var names, free time.Duration        // from when on name servers, and everything, is well
	var bag []string
	for at := 2 * time.Second; ; at += p.unit/4 + jitter(r, p.unit) {
		if len(bag) == 0 {
			bag = slices.Clone(kinds)
			r.Shuffle(len(bag), func(i, j int) { bag[i], bag[j] = bag[j], bag[i] })
		}
		e := event{kind: bag[0], lasts: p.unit/2 + jitter(r, 2*p.unit), path: r.IntN(paths)}
		bag = bag[1:]
		at = max(at, free)
		switch {
		case nothingUp(e.kind):
			switch e.kind {
			case sleepC, sleepS:
				e.lasts = p.suspend
			case restart, leave:
				e.lasts = 100*time.Millisecond + jitter(r, 2*time.Second)
			}
			// What is down is repaired before everything goes down: what comes back then is
			// known.
			at = max(at, slices.Max(well)-p.settle)
			free = at + e.lasts + p.recover
			for i := range well {
				well[i] = free
			}
		case ofPath(e.kind):
			if e.kind == renumber {
				e.lasts = 0
			}
			for !victim(well, &e, at) {
				at += 100 * time.Millisecond
			}
			well[e.path] = at + e.lasts + p.settle
		default:
			at = max(at, names)
			names = at + e.lasts + p.settle
		}
		e.at = at
		if at+e.lasts+p.recover > length {
			return out
		}
		out = append(out, e)
	}
}

// victim gives the event a path that is up beside another one, the one that was drawn if
// it may be; false if there is none.
func victim(well []time.Duration, e *event, at time.Duration) bool {
	for i := range well {
		path := (e.path + i) % len(well)
		if well[path] <= at && anotherUp(well, path, at) {
			e.path = path
			return true
		}
	}
	return false
}

// anotherUp says whether a path other than this one is up.
func anotherUp(well []time.Duration, path int, at time.Duration) bool {
	for i, from := range well {
		if i != path && from <= at {
			return true
		}
	}
	return false
}

// jitter draws a time below the bound.
func jitter(r *rand.Rand, below time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(below) + 1))
}
