package turns

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurns: who waits has the room that becomes free, of one holder the first
// first, and of two holders each in turn, however many wait with one of them.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Places{most: 4, each: 3}
		var greedy, modest Holder
		var got []string
		var done sync.WaitGroup
		await := func(ctx context.Context, h *Holder, name string) {
			done.Go(func() {
				if p.Await(ctx, h) {
					got = append(got, name)
				}
			})
			synctest.Wait()
		}
		for range 3 {
			await(t.Context(), &greedy, "at once")
		}
		if p.Take(&greedy) {
			t.Error("beyond a holder's cap")
		}
		await(t.Context(), &greedy, "a")
		await(t.Context(), &modest, "at once")
		if p.Take(&modest) {
			t.Error("beyond the cap of all")
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, name := range []string{"b", "c", "d"} {
			await(t.Context(), &greedy, name)
		}
		await(short, &modest, "in vain")
		await(t.Context(), &modest, "x")
		await(t.Context(), &modest, "y")
		time.Sleep(2 * time.Second)
		for range 4 {
			p.Give(&greedy)
			synctest.Wait()
		}
		if want := []string{"at once", "at once", "at once", "at once", "x", "a", "y", "b"}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		for range 3 { // what x and y hold, and the one of before
			p.Give(&modest)
			synctest.Wait()
		}
		if got = got[8:]; !slices.Equal(got, []string{"c", "d"}) {
			t.Errorf("%v are let in at last", got)
		}
		for range 3 {
			p.Give(&greedy)
		}
		done.Wait()
		if p.Held() != 0 || greedy.held != 0 || modest.held != 0 || p.turns.Len() != 0 {
			t.Errorf("%d are held, %d holders are listed", p.Held(), p.turns.Len())
		}
	})
}

// TestEndTogether: whatever is given up at the moment of its turn, no room is lost.
func TestEndTogether(t *testing.T) {
	p := Places{most: 3, each: 2}
	var holders [4]Holder
	var all sync.WaitGroup
	for i := range 400 {
		all.Go(func() {
			h := &holders[i%len(holders)]
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Microsecond)
			defer cancel()
			if p.Await(ctx, h) {
				time.Sleep(100 * time.Microsecond)
				p.Give(h)
			}
		})
	}
	all.Wait()
	for i := range holders {
		if h := &holders[i]; h.held != 0 || h.waiting.Len() != 0 || h.turn != nil {
			t.Errorf("holder %d holds %d, %d wait", i, h.held, h.waiting.Len())
		}
	}
	if p.Held() != 0 || p.turns.Len() != 0 {
		t.Errorf("%d are held, %d holders are listed", p.Held(), p.turns.Len())
	}
}
