package fq

import "github.com/mpsocks/mpsocks/mux/buf"

// A Wish is what somebody asks for all that is exchanged with one port of the client,
// before any rule. It never changes; another one takes its place.
type Wish struct {
	Class Class
	Asked bool     // of Class
	Paths []string // the only paths that may be used, by name; nil = all
	IDs   uint32   // the same by address ID, a bit each, where names mean nothing; 0 = all
}

// Empty says that nothing is asked for.
func (w *Wish) Empty() bool { return w == nil || !w.Asked && !w.Limits() }

// Limits says that some paths may not be used.
func (w *Wish) Limits() bool { return w != nil && (w.Paths != nil || w.IDs != 0) }

// PopOf takes the next packet of a flow of ClassChosen, or nil: then it waits until it has
// another one. most bounds a stream's segment.
func (q *Queue) PopOf(f *Flow, now int64, most int) (p *buf.Buffer) {
	if f.Stream != nil {
		p = f.Stream.Next(most)
	} else {
		p = q.codel(f, now)
	}
	if p == nil {
		q.deactivate(f)
	}
	return p
}

// Chosen appends the flows of ClassChosen that have something to send, most of them at most.
func (q *Queue) Chosen(to []*Flow, most int) []*Flow {
	b := &q.Bands[ClassChosen]
	for _, l := range [2]*flowList{&b.fresh, &b.old} {
		for f := l.head; f != nil && len(to) < most; f = f.next {
			to = append(to, f)
		}
	}
	return to
}

// Turned turns the order of the flows of ClassChosen, so that the n-th one is the first the
// next time.
func (q *Queue) Turned(n int) {
	b := &q.Bands[ClassChosen]
	for range n {
		if f := b.fresh.head; f != nil {
			q.rotate(b, f, true)
		} else if f := b.old.head; f != nil {
			q.rotate(b, f, false)
		}
	}
}

// Expire drops what a flow that may not go has held for too long.
func (q *Queue) Expire(f *Flow, now int64) {
	for f.head != nil && now-f.head.Stamp > q.oldest(f, now) {
		q.drop(f, q.take(f), DropStale)
	}
	if f.head == nil && f.Stream == nil {
		q.deactivate(f)
	}
}
