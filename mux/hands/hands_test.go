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
		if h.Take() != nil {
			t.Fatal("a client that is alone took a hand")
		}
	}
	var none *Hands
	if none.Take() != nil {
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
		one := other.Take()
		mine := []*Hand{greedy.Take(), greedy.Take()}
		if one == nil || mine[0] == nil || mine[1] == nil {
			t.Fatal("no hand was needed beside another")
		}
		got := make(chan *Hand, 3)
		for range 3 {
			go func() { got <- greedy.Take() }()
		}
		synctest.Wait()
		if n := len(got); n != 0 {
			t.Fatalf("%d more than two hands at once", n)
		}
		if other.Take() == nil {
			t.Error("the other has no second hand")
		}
		mine[0].Give()
		synctest.Wait()
		if n := len(got); n != 1 {
			t.Errorf("%d of those who wait have the one that was given back", n)
		}
		mine[1].Give()
		(<-got).Give()
		synctest.Wait()
		if n := len(got); n != 2 {
			t.Errorf("%d of the two others were served", n)
		}
		for range 2 {
			(<-got).Give()
			time.Sleep(2 * time.Second)
		}
		greedy.Take()
		time.Sleep(2 * time.Second)
		if greedy.Take() != nil {
			t.Error("who was alone for two seconds needs a hand")
		}
	})
}

// TestOthersComeFirst: beside another, who gives back a hand with which much was done
// lets others of the machine first, whether it was one turn or many that followed each other,
// and who has waited in between, or is alone, does not.
func TestOthersComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCrowd(1, nil)
		yields := 0
		c.yield = func() { yields++ }
		own, other := c.Hands(), c.Hands()
		for _, x := range []struct {
			what          string
			turns         int
			each, between time.Duration
			alone         bool
			least, most   int
		}{
			{"a long turn", 1, 3 * time.Millisecond, 0, false, 1, 1},
			{"a short one", 1, 20 * time.Microsecond, 0, false, 0, 0},
			{"short ones in a row", 100, 20 * time.Microsecond, 0, false, 8, 10},
			{"with short waits", 100, 20 * time.Microsecond, 10 * time.Microsecond, false, 8, 10},
			{"with long ones", 100, 20 * time.Microsecond, 100 * time.Microsecond, false, 0, 0},
			{"somebody alone", 100, 3 * time.Millisecond, 0, true, 0, 0},
		} {
			time.Sleep(2 * time.Duration(about))
			if yields = 0; !x.alone {
				own.Take().Give()
				other.Take().Give()
			}
			for range x.turns {
				d := own.Take()
				time.Sleep(x.each)
				d.Give()
				time.Sleep(x.between)
			}
			if yields < x.least || yields > x.most {
				t.Errorf("%s: others came first %d times", x.what, yields)
			}
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
			o, g := other.Take(), greedy.Take()
			go func() { greedy.Take().Give() }()
			synctest.Wait()
			g.Give()
			synctest.Wait()
			o.Give()
		}
		greedy.Take() // alone
		o := other.Take()
		greedy.Take().Give()
		o.Give()
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
