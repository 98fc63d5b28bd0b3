package lull

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

// A rest ends for all who rest at once: one goroutine looks for them, one after the other, so
// that one wake-up of one thread serves them.

// A keeper is that goroutine. It is started for the first that rests, and ends with the last.
// Where its work takes long another one is begun: there may be as many as processors.
type keeper struct {
	looks []*rest       // guarded by keepers.mu
	took  time.Duration // of the last moment's looks; so, too
	runs  bool          // so, too
}

// A rest is one who rests.
type rest struct{ look func(late bool) (again bool) }

const (
	// busy is how long the looks of a moment take where no more are to come to a keeper.
	busy = time.Duration(Rest) / 4
	// long is how long they may take at most: whoever is left then looks himself. One client
	// may have a thousand that rest, and others wait for theirs.
	long = time.Duration(Rest) / 2
)

var keepers struct {
	mu  sync.Mutex // guards all; held for no call
	all []*keeper
}

// Join has look called at the next moments, a millisecond apart, until it says that it was
// the last time. The calls are made by a goroutine of this package, one look at a time, and
// others', of whom nobody knows, come behind: look does not wait for anything, and does not go on
// because more comes. late says that it is the last call, for the moment has been long: it had
// better not read at all.
func Join(look func(late bool) (again bool)) {
	keepers.mu.Lock()
	defer keepers.mu.Unlock()
	k := choose()
	k.looks = append(k.looks, &rest{look})
	if !k.runs {
		k.runs = true
		go k.run()
	}
}

// choose returns the first keeper that has time, or the one with the least to do. The caller
// holds keepers.mu.
func choose() *keeper {
	var least *keeper
	for _, k := range keepers.all {
		if k.took < busy {
			return k
		}
		if least == nil || len(k.looks) < len(least.looks) {
			least = k
		}
	}
	if least == nil || len(keepers.all) < runtime.GOMAXPROCS(0) {
		least = new(keeper)
		keepers.all = append(keepers.all, least)
	}
	return least
}

// never is the keepers' word for who would have them look sooner.
func never() bool { return false }

// run looks until nobody rests any more.
func (k *keeper) run() {
	c := newClock()
	if c != nil {
		defer c.close()
	}
	var now []*rest
	for {
		if c == nil || !c.wait(time.Duration(Rest), never) {
			time.Sleep(time.Duration(Rest))
		}
		keepers.mu.Lock()
		now = append(now[:0], k.looks...)
		keepers.mu.Unlock()
		took, over := moment(now)
		keepers.mu.Lock()
		k.took = took
		if over > 0 {
			k.looks = slices.DeleteFunc(k.looks, func(r *rest) bool { return slices.Contains(now, r) })
		}
		if len(k.looks) == 0 {
			k.runs, k.took = false, 0
			keepers.mu.Unlock()
			return
		}
		keepers.mu.Unlock()
		clear(now)
	}
}

// moment looks for all, and leaves those of whom that was the last time, of which it returns the
// number.
func moment(all []*rest) (took time.Duration, over int) {
	began := time.Now()
	for i, r := range all {
		if late := time.Since(began) > long; r.look(late) && !late {
			all[i] = nil
			continue
		}
		over++
	}
	return time.Since(began), over
}
