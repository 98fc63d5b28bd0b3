// Package turns has places for what many ask for at once, such as names being looked up: so
// many for all and so many for each, and whoever finds none waits for a turn.
package turns

import (
	"container/list"
	"context"
	"sync"
)

// Places are the places for all, with a cap for each holder. Who finds none waits: of one
// holder the first first, and holders that wait each in turn, however many wait with each.
// It is safe for concurrent use; the zero value has no caps and lets everybody in.
type Places struct {
	mu         sync.Mutex // guards all following fields, and every Holder
	most, each int        // caps, 0 = none
	held       int
	turns      list.List // of *Holder: those who wait and are below their own cap
}

// A Holder is what one of them has of Places. The zero value has nothing.
type Holder struct {
	held    int
	waiting list.List     // of chan struct{}: each is closed when it is its turn
	turn    *list.Element // in turns, or nil
}

// Cap sets how many places there are for all and for each, 0 = any number. It is for before
// their first use.
func (p *Places) Cap(most, each int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most, p.each = most, each
}

// Take takes a place, unless there is none, and says which.
func (p *Places) Take(h *Holder) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.enter(h)
}

// Await takes a place in its turn, and says whether that came before ctx ended.
func (p *Places) Await(ctx context.Context, h *Holder) bool {
	p.mu.Lock()
	if p.enter(h) {
		p.mu.Unlock()
		return true
	}
	turn := make(chan struct{})
	place := h.waiting.PushBack(turn)
	p.list(h)
	p.mu.Unlock()
	select {
	case <-turn:
		return true
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-turn: // it came meanwhile
		return true
	default:
	}
	h.waiting.Remove(place)
	p.list(h)
	return false
}

// Give gives a place back, and whoever is next has it.
func (p *Places) Give(h *Holder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held--
	h.held--
	p.list(h)
	for next := p.turns.Front(); next != nil && below(p.held, p.most); next = p.turns.Front() {
		h := next.Value.(*Holder)
		p.held++
		h.held++
		close(h.waiting.Remove(h.waiting.Front()).(chan struct{}))
		p.turns.MoveToBack(next)
		p.list(h)
	}
}

// Held is how many places are taken.
func (p *Places) Held() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

// Waiting is how many wait for a turn of this holder.
func (p *Places) Waiting(h *Holder) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return h.waiting.Len()
}

// enter counts one more if there is room. Nobody who could have that room waits then: Give
// has let them in. The caller holds mu.
func (p *Places) enter(h *Holder) bool {
	if !below(p.held, p.most) || !below(h.held, p.each) {
		return false
	}
	p.held++
	h.held++
	return true
}

// list has a holder among the turns if it waits and may hold more, and only then. The caller
// holds mu.
func (p *Places) list(h *Holder) {
	switch may := h.waiting.Len() > 0 && below(h.held, p.each); {
	case may && h.turn == nil:
		h.turn = p.turns.PushBack(h)
	case !may && h.turn != nil:
		p.turns.Remove(h.turn)
		h.turn = nil
	}
}

// below says whether a cap, of which 0 is none, leaves room beside what is held.
func below(held, most int) bool { return most <= 0 || held < most }
