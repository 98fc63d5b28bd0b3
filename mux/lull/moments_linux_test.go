package lull

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Whoever joins is looked at until it has had enough, alone or with others, also when it joins
// while others are looked at and when nobody has been for a while.
func TestJoin(t *testing.T) {
	for range 3 {
		var all sync.WaitGroup
		var at atomic.Int32
		for n := range 20 {
			all.Add(1)
			looks := 0
			Join(func(bool) bool {
				if at.Add(1) > 1 {
					t.Error("two look at once")
				}
				defer at.Add(-1)
				if looks++; looks <= n {
					return true
				}
				all.Done()
				return false
			})
		}
		all.Wait()
		time.Sleep(3 * time.Millisecond)
	}
}

// Looks are a rest apart.
func TestMomentsAreApart(t *testing.T) {
	done := make(chan []time.Time)
	var at []time.Time
	Join(func(bool) bool {
		if at = append(at, time.Now()); len(at) < 20 {
			return true
		}
		done <- at
		return false
	})
	got := <-done
	if d := got[len(got)-1].Sub(got[0]); d < 19*time.Duration(Rest)*9/10 {
		t.Errorf("twenty looks within %v", d)
	}
}

// Where looks take long others go to another keeper, as far as there are processors.
func TestKeepersShare(t *testing.T) {
	keepers.mu.Lock()
	was := keepers.all
	keepers.all = []*keeper{{took: 2 * busy, runs: true, looks: make([]*rest, 3)}, {took: 2 * busy, runs: true, looks: make([]*rest, 2)}}
	k := choose()
	few := keepers.all[1]
	keepers.all = was
	keepers.mu.Unlock()
	if k != few && len(k.looks) > 0 {
		t.Error("the busier keeper gets more")
	}
}

// One who takes long holds the others of a moment up once: they are told, and look themselves.
func TestLongMoment(t *testing.T) {
	var told []bool
	look := func(late bool) bool { told = append(told, late); return true }
	slow := func(late bool) bool {
		for end := time.Now().Add(2 * long); time.Now().Before(end); {
		}
		return look(late)
	}
	all := []*rest{{look}, {slow}, {look}, {look}}
	left := slices.Clone(all[2:])
	if _, over := moment(all); over != 2 || !slices.Equal(all, append([]*rest{nil, nil}, left...)) {
		t.Errorf("%d of four are over: %v", over, all)
	}
	if !slices.Equal(told, []bool{false, false, true, true}) {
		t.Errorf("late: %v", told)
	}
}
