package server

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// waiting is how many names of a peer's client wait for their turn.
func waiting(p *peer) int {
	q := &p.server.resolver.asking
	q.mu.Lock()
	defer q.mu.Unlock()
	return p.client.names.waiting.Len()
}

// TestInquiriesTakeTurns: who waits has the room that becomes free, of one client the first
// first, and of two clients each in turn, however many wait with one of them.
func TestInquiriesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := inquiries{most: 4, each: 3}
		var greedy, modest inquirer
		var got []string
		var done sync.WaitGroup
		await := func(ctx context.Context, c *inquirer, name string) {
			done.Go(func() {
				if q.await(ctx, c) {
					got = append(got, name)
				}
			})
			synctest.Wait()
		}
		for range 3 {
			await(t.Context(), &greedy, "at once")
		}
		if q.take(&greedy) {
			t.Error("beyond a client's cap")
		}
		await(t.Context(), &greedy, "a")
		await(t.Context(), &modest, "at once")
		if q.take(&modest) {
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
			q.give(&greedy)
			synctest.Wait()
		}
		if want := []string{"at once", "at once", "at once", "at once", "x", "a", "y", "b"}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		for range 3 { // what x and y hold, and the one of before
			q.give(&modest)
			synctest.Wait()
		}
		if got = got[8:]; !slices.Equal(got, []string{"c", "d"}) {
			t.Errorf("%v are let in at last", got)
		}
		for range 3 {
			q.give(&greedy)
		}
		done.Wait()
		if q.count() != 0 || greedy.held != 0 || modest.held != 0 || q.turns.Len() != 0 {
			t.Errorf("%d are held, %d clients are listed", q.count(), q.turns.Len())
		}
	})
}

// TestInquiriesEndTogether: whatever is given up at the moment of its turn, no room is lost.
func TestInquiriesEndTogether(t *testing.T) {
	q := inquiries{most: 3, each: 2}
	var clients [4]inquirer
	var all sync.WaitGroup
	for i := range 400 {
		all.Go(func() {
			c := &clients[i%len(clients)]
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Microsecond)
			defer cancel()
			if q.await(ctx, c) {
				time.Sleep(100 * time.Microsecond)
				q.give(c)
			}
		})
	}
	all.Wait()
	for i := range clients {
		if c := &clients[i]; c.held != 0 || c.waiting.Len() != 0 || c.turn != nil {
			t.Errorf("client %d holds %d, %d wait", i, c.held, c.waiting.Len())
		}
	}
	if q.count() != 0 || q.turns.Len() != 0 {
		t.Errorf("%d are held, %d clients are listed", q.count(), q.turns.Len())
	}
}

// TestConnectsAskInOrder: of CONNECTs to names for which there is no room the first is asked
// for first, and another client's does not wait for all of them.
func TestConnectsAskInOrder(t *testing.T) {
	type asked struct {
		name   string
		answer chan struct{}
	}
	came := make(chan asked)
	at := dnsServer(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		if m.Questions[0].Type != dnsmessage.TypeA {
			return &m // no such address
		}
		a := asked{m.Questions[0].Name.String(), make(chan struct{})}
		came <- a
		<-a.answer
		return addA(m, 0, "127.0.0.1")
	})
	s := testServer(t, nil, func(s *Server) { s.resolver.config, s.resolver.hosts = upstreams(at), noNames })
	s.resolver.asking.most, s.resolver.asking.each = 1, 1
	greedy, modest := newPeer(s, "laptop", newFakeSession()), newPeer(s, "phone", newFakeSession())
	ask := func(p *peer, name string) {
		app, _ := openStream(t, p)
		_, _ = app.Write(append(append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(name))}, name...), 0, 9))
	}
	ask(greedy, "first.test")
	next := <-came
	for i, name := range []string{"a.test", "b.test", "c.test", "d.test"} {
		ask(greedy, name)
		eventually(t, name+" waits", func() bool { return waiting(greedy) == i+1 })
	}
	ask(modest, "x.test")
	eventually(t, "another client waits", func() bool { return waiting(modest) == 1 })
	var order []string
	for range 5 {
		close(next.answer)
		next = <-came
		order = append(order, next.name)
	}
	close(next.answer)
	if want := []string{"x.test.", "a.test.", "b.test.", "c.test.", "d.test."}; !slices.Equal(order, want) {
		t.Errorf("asked in the order %v, want %v", order, want)
	}
}
