package server

import (
	"container/list"
	"context"
	"sync"
)

// Inquiries are the names that are being asked for, of CONNECTs and datagrams together, with a
// cap for all and one for each client. Who finds no room waits: of one client the first first,
// and clients that wait each in turn, however many wait with each. It is safe for concurrent
// use; without caps everybody is let in.
type inquiries struct {
	mu         sync.Mutex // guards all following fields, and every inquirer
	most, each int        // caps, 0 = none
	held       int
	turns      list.List // of *inquirer: those who wait and are below their own cap
}

// An inquirer is what one client has of inquiries.
type inquirer struct {
	held    int
	waiting list.List     // of chan struct{}: each is closed when it is its turn
	turn    *list.Element // in turns, or nil
}

// take counts one more, unless there is no room.
func (q *inquiries) take(c *inquirer) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.enter(c)
}

// await takes one in its turn, and says whether that came before ctx ended.
func (q *inquiries) await(ctx context.Context, c *inquirer) bool {
	q.mu.Lock()
	if q.enter(c) {
		q.mu.Unlock()
		return true
	}
	turn := make(chan struct{})
	place := c.waiting.PushBack(turn)
	q.list(c)
	q.mu.Unlock()
	select {
	case <-turn:
		return true
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-turn: // it came meanwhile
		return true
	default:
	}
	c.waiting.Remove(place)
	q.list(c)
	return false
}

// give counts one less, and whoever is next has the room.
func (q *inquiries) give(c *inquirer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held--
	c.held--
	q.list(c)
	for next := q.turns.Front(); next != nil && below(q.held, q.most); next = q.turns.Front() {
		c := next.Value.(*inquirer)
		q.held++
		c.held++
		close(c.waiting.Remove(c.waiting.Front()).(chan struct{}))
		q.turns.MoveToBack(next)
		q.list(c)
	}
}

// count is how many are held by all.
func (q *inquiries) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held
}

// enter counts one more if there is room. Nobody who could have that room waits then: give
// has let them in. The caller holds mu.
func (q *inquiries) enter(c *inquirer) bool {
	if !below(q.held, q.most) || !below(c.held, q.each) {
		return false
	}
	q.held++
	c.held++
	return true
}

// list has a client among the turns if it waits and may hold more, and only then. The caller
// holds mu.
func (q *inquiries) list(c *inquirer) {
	switch may := c.waiting.Len() > 0 && below(c.held, q.each); {
	case may && c.turn == nil:
		c.turn = q.turns.PushBack(c)
	case !may && c.turn != nil:
		q.turns.Remove(c.turn)
		c.turn = nil
	}
}

// below says whether a cap, of which 0 is none, leaves room beside what is held.
func below(held, most int) bool { return most <= 0 || held < most }
