package hands

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestAlone: who is alone never waits.
func TestAlone(t *testing.T) {
	h := NewCrowd(1, nil).Hands()
	for range 3 {
		if h.Take() {
			t.Fatal("a client that is alone took a hand")
		}
	}
	var none *Hands
	if none.Take() {
		t.Error("nobody's hands were taken")
	}
}

// TestCrowd: beside another, a client has so many hands, and each has its own; a second
// after the other has last worked it is alone again.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCrowd(2, nil)
		greedy, other := c.Hands(), c.Hands()
		greedy.Take()
		if !other.Take() || !greedy.Take() || !greedy.Take() {
			t.Fatal("no hand was needed beside another")
		}
		var got atomic.Int64
		for range 3 {
			go func() {
				if greedy.Take() {
					got.Add(1)
				}
			}()
		}
		synctest.Wait()
		if n := got.Load(); n != 0 {
			t.Fatalf("%d more than two hands at once", n)
		}
		if !other.Take() {
			t.Error("the other has no second hand")
		}
		greedy.Give()
		synctest.Wait()
		if n := got.Load(); n != 1 {
			t.Errorf("%d of those who wait have the one that was given back", n)
		}
		greedy.Give()
		greedy.Give()
		synctest.Wait()
		if n := got.Load(); n != 3 {
			t.Errorf("%d of three were served", n)
		}
		for range 2 {
			greedy.Give()
			time.Sleep(2 * time.Second)
		}
		greedy.Take()
		time.Sleep(2 * time.Second)
		if greedy.Take() {
			t.Error("who was alone for two seconds needs a hand")
		}
	})
}

// TestSpare: the spare processor comes with the first who waits for a hand, and goes some
// time after the last.
func TestSpare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var there atomic.Bool
		var changes atomic.Int64
		c := NewCrowd(1, &Spare{set: func(more bool) { there.Store(more); changes.Add(1) }})
		greedy, other := c.Hands(), c.Hands()
		wait := func() {
			other.Take()
			greedy.Take()
			go func() { greedy.Take(); greedy.Give() }()
			synctest.Wait()
			greedy.Give()
			synctest.Wait()
			other.Give()
		}
		greedy.Take() // alone
		other.Take()
		greedy.Take()
		greedy.Give()
		other.Give()
		if there.Load() {
			t.Fatal("the spare processor is there and nobody has waited")
		}
		for range 3 {
			if wait(); !there.Load() {
				t.Fatal("it does not come when somebody waits")
			}
			time.Sleep(spareFor * 3 / 4)
		}
		time.Sleep(2 * spareFor)
		if there.Load() || changes.Load() != 2 {
			t.Errorf("%d changes; there at the end: %v", changes.Load(), there.Load())
		}
		if wait(); !there.Load() {
			t.Error("it does not come a second time")
		}
		time.Sleep(3 * spareFor)
	})
}
