// Package ledger notes who has what of something that there is little of, in the order in
// which it was taken or last used. When there is no more of it, it finds what may have to go
// for somebody else: the first of all, of one holder, or of whoever has most. Which of these,
// and when, is a rule of whoever keeps the ledger.
package ledger

import (
	"container/list"
	"iter"
)

// A Ledger has an Entry for each thing that a holder has. Its zero value is empty. It is not
// safe for concurrent use: its owner's lock guards it, and its entries.
type Ledger[H comparable, T any] struct {
	all list.List        // of *Entry[H, T], the first one first
	by  map[H]*list.List // the same of each holder who has any
}

// An Entry is the place of one thing in a Ledger. Its zero value is in none.
type Entry[H comparable, T any] struct {
	holder   H
	thing    T
	all, own *list.Element // nil = it is in no ledger
}

// Add has a thing of a holder be the last one. The entry is in no ledger yet.
func (l *Ledger[H, T]) Add(e *Entry[H, T], holder H, thing T) {
	e.holder, e.thing = holder, thing
	e.all = l.all.PushBack(e)
	l.enroll(e)
}

// Remove takes an entry out, if it is in.
func (l *Ledger[H, T]) Remove(e *Entry[H, T]) {
	if e.all == nil {
		return
	}
	l.all.Remove(e.all)
	l.strike(e)
	*e = Entry[H, T]{}
}

// Touch has an entry, which is in, be the last one: it was used.
func (l *Ledger[H, T]) Touch(e *Entry[H, T]) {
	l.all.MoveToBack(e.all)
	l.by[e.holder].MoveToBack(e.own)
}

// Move has an entry, which is in, be another holder's, and the last one of his. Its place
// among all stays.
func (l *Ledger[H, T]) Move(e *Entry[H, T], to H) {
	l.strike(e)
	e.holder = to
	l.enroll(e)
}

// Len is how many entries there are.
func (l *Ledger[H, T]) Len() int { return l.all.Len() }

// Held is how many entries a holder has.
func (l *Ledger[H, T]) Held(by H) int {
	if own := l.by[by]; own != nil {
		return own.Len()
	}
	return 0
}

// Most is who has most entries, and how many; where several have as many it is any of these.
func (l *Ledger[H, T]) Most() (holder H, held int) {
	for h, own := range l.by {
		if own.Len() > held {
			holder, held = h, own.Len()
		}
	}
	return holder, held
}

// First is the first thing of all; false if there is none.
func (l *Ledger[H, T]) First() (thing T, ok bool) { return first[H, T](&l.all) }

// FirstOf is the first thing of a holder; false if he has none.
func (l *Ledger[H, T]) FirstOf(holder H) (thing T, ok bool) { return first[H, T](l.by[holder]) }

// All are the things of all, the first one first. The one at hand may be removed meanwhile,
// or moved.
func (l *Ledger[H, T]) All() iter.Seq[T] { return things[H, T](&l.all) }

// Of are the things of a holder, the first one first. The one at hand may be removed
// meanwhile.
func (l *Ledger[H, T]) Of(holder H) iter.Seq[T] { return things[H, T](l.by[holder]) }

// enroll has an entry be its holder's last one.
func (l *Ledger[H, T]) enroll(e *Entry[H, T]) {
	own := l.by[e.holder]
	if own == nil {
		if l.by == nil {
			l.by = make(map[H]*list.List)
		}
		own = list.New()
		l.by[e.holder] = own
	}
	e.own = own.PushBack(e)
}

// strike undoes enroll.
func (l *Ledger[H, T]) strike(e *Entry[H, T]) {
	own := l.by[e.holder]
	if own.Remove(e.own); own.Len() == 0 {
		delete(l.by, e.holder)
	}
}

// first is the first thing of a list, which may be nil.
func first[H comparable, T any](in *list.List) (thing T, ok bool) {
	if in == nil || in.Len() == 0 {
		return thing, false
	}
	return in.Front().Value.(*Entry[H, T]).thing, true
}

// things are those of a list, which may be nil.
func things[H comparable, T any](in *list.List) iter.Seq[T] {
	return func(yield func(T) bool) {
		if in == nil {
			return
		}
		for at := in.Front(); at != nil; {
			e := at.Value.(*Entry[H, T])
			at = at.Next()
			if !yield(e.thing) {
				return
			}
		}
	}
}
