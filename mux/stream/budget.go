package stream

import (
	"cmp"
	"slices"
	"unsafe"
)

// What the streams of a session hold is counted in bytes of buffers, and bounded: when
// half of the budget is held windows and send buffers are small, and when all of it is and a
// quarter, who holds the most is reset: windows that were promised when little was held may
// fill so much.

// SetBudget sets how many bytes the buffers of all streams may be; 0 is as many as
// there can be.
func (t *Table) SetBudget(n int64) {
	if n <= 0 || n > memoryMost {
		n = memoryMost
	}
	t.budget.Store(max(n, memoryLeast))
}

// SetSpan says how long the longest round trip of the session's paths is without queues, in ns.
func (t *Table) SetSpan(ns int64) { t.span.Store(ns) }

// Held is the memory of all streams, of the buffers that they hold, and of the port pairs that
// are guarded.
func (t *Table) Held() int64 {
	t.mu.RLock()
	guarded := t.guard.memory()
	t.mu.RUnlock()
	return guarded + t.held.Load() + t.count.Load()*int64(unsafe.Sizeof(Stream{}))
}

// Cut is how many streams were ended for what they held.
func (t *Table) Cut() uint64 { return t.cuts.Load() }

// tight says that much of the budget is held.
func (t *Table) tight() bool { return t.held.Load() > t.budget.Load()/2 }

// room is how much of its send limit a stream may use: all of them together a quarter
// of the budget, but each a segment.
func (t *Table) room(limit int) int {
	return min(limit, max(int(t.budget.Load()/4/max(t.count.Load(), 1)), payloadOf))
}

// grow reserves n bytes for larger limits.
func (t *Table) grow(n int) bool {
	if t.tight() {
		return false
	}
	if t.grown.Add(int64(n)) > t.budget.Load()/2 {
		t.grown.Add(-int64(n))
		return false
	}
	return true
}

// relieve ends the streams that hold the most when all together hold too much: who
// does not read pays, not who happens to be spoken to. One caller looks at a time. A look
// at all of them makes room for an eighth of the budget, or the next packet would need
// another.
func (t *Table) relieve() {
	if t.held.Load() <= t.budget.Load()/4*5 || !t.relieving.TryLock() {
		return
	}
	defer t.relieving.Unlock()
	type holder struct {
		st *Stream
		n  int64
	}
	var all []holder
	for _, st := range t.list(nil) {
		if n := st.holds(); n > 0 {
			all = append(all, holder{st, n})
		}
	}
	slices.SortFunc(all, func(a, b holder) int { return cmp.Compare(b.n, a.n) })
	for _, h := range all {
		if t.held.Load() <= t.budget.Load()/8*7 {
			return
		}
		h.st.cutOff()
		t.cuts.Add(1)
	}
}
