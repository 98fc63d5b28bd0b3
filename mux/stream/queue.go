package stream

import (
	"slices"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// A queue is a first-in first-out list of Buffers. Its memory is reused,
// and given back when it ran empty after having been long.
type queue struct {
	items []*buf.Buffer
	head  int
}

// keepItems is up to how many pointers an empty queue keeps: 512 bytes.
const keepItems = 64

func (q *queue) push(b *buf.Buffer) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, b)
}

// pop returns the first Buffer, or nil.
func (q *queue) pop() *buf.Buffer {
	b := q.front()
	if b == nil {
		return nil
	}
	q.items[q.head] = nil
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		if cap(q.items) > keepItems {
			q.items = nil
		}
	}
	return b
}

// unpop puts b before all others.
func (q *queue) unpop(b *buf.Buffer) {
	if q.head > 0 {
		q.head--
		q.items[q.head] = b
		return
	}
	q.items = slices.Insert(q.items, 0, b)
}

func (q *queue) front() *buf.Buffer {
	if q.head == len(q.items) {
		return nil
	}
	return q.items[q.head]
}

func (q *queue) back() *buf.Buffer {
	if q.head == len(q.items) {
		return nil
	}
	return q.items[len(q.items)-1]
}
