package engine

import (
	"container/heap"
	"math"
	"math/rand/v2"
)

// A world is virtual time: what happens is called in order, and a seed decides all
// chance, so that a run is repeatable to the byte.
type world struct {
	now  int64
	seq  uint64
	todo todo
	rnd  *rand.Rand
}

type happening struct {
	at  int64
	seq uint64
	do  func()
}

type todo []happening

func (q todo) Len() int { return len(q) }
func (q todo) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q todo) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *todo) Push(x any)   { *q = append(*q, x.(happening)) }
func (q *todo) Pop() any {
	n := len(*q) - 1
	x := (*q)[n]
	(*q)[n] = happening{}
	*q = (*q)[:n]
	return x
}

// at has something done at a time; what is due at the same time is done in order.
func (w *world) at(when int64, do func()) {
	w.seq++
	heap.Push(&w.todo, happening{max(when, w.now), w.seq, do})
}

// run lets time pass up to then.
func (w *world) run(until int64) {
	for len(w.todo) > 0 && w.todo[0].at <= until {
		h := heap.Pop(&w.todo).(happening)
		w.now = h.at
		h.do()
	}
	w.now = until
}

// A line is one direction of a path, as the laboratory makes it: a rate, a delay, a
// drop-tail queue, loss by chance and in bursts, and smooth jitter that reorders nothing.
type line struct {
	w      *world
	rate   float64 // bytes a nanosecond
	delay  int64
	queue  int64 // ns
	loss   float64
	enter  float64 // of the bad state of a burst, a packet,
	leave  float64
	lost   float64 // and the loss in it
	jitter int64   // ± ns
	bunch  int64   // what arrives comes together so often, ns: as a radio that gathers; 0 = at once
	police float64 // more than this rate, bytes a nanosecond, is dropped and waits for nothing,
	bucket float64 // but for so many bytes that a pause has saved up
	dead   bool
	count  int // packets that were sent

	bad   bool
	free  int64 // when what was sent has left
	saved float64
	paid  int64 // when bucket was last looked at
	last  int64 // the last arrival
	phase float64
}

// halt has the line stand still for so many ns: a radio looks for other stations, or changes the cell. What is
// under way arrives.
func (l *line) halt(ns int64) { l.free = max(l.free, l.w.now+ns) }

// send carries n bytes, or loses them.
func (l *line) send(n int, arrive func()) {
	w := l.w
	l.count++
	if l.dead || l.free-w.now > l.queue {
		return
	}
	if l.police > 0 {
		l.saved = min(l.saved+l.police*float64(w.now-l.paid), l.bucket)
		if l.paid = w.now; l.saved < float64(n) {
			return
		}
		l.saved -= float64(n)
	}
	l.free = max(l.free, w.now) + int64(float64(n)/l.rate)
	if l.enter > 0 {
		if p := w.rnd.Float64(); l.bad && p < l.leave || !l.bad && p < l.enter {
			l.bad = !l.bad
		}
		if l.bad && w.rnd.Float64() < l.lost {
			return
		}
	}
	if l.loss > 0 && w.rnd.Float64() < l.loss {
		return
	}
	at := l.free + l.delay
	if l.jitter > 0 { // as a scheduler's: it wanders with a period of about half a second
		at += int64(float64(l.jitter) * (math.Sin(float64(w.now)/80e6+l.phase) + math.Sin(float64(w.now)/31e6+2*l.phase)) / 2)
	}
	if l.bunch > 0 {
		at += l.bunch - at%l.bunch
	}
	l.last = max(l.last, at)
	w.at(l.last, func() {
		if !l.dead {
			arrive()
		}
	})
}

// A shaper is what some networks do to each connection by itself: it is fast for so many bytes, both ways
// together, and slow from then on, with a queue of its own in either direction.
type shaper struct {
	w          *world
	fast, slow float64 // bytes a nanosecond; no slow one = nothing gets through
	left       int     // bytes until then,
	all        int64   // and when every connection is slow; 0 = never
	queue      int64   // ns
	free       map[*line]int64
}

func (s *shaper) pass(l *line, n int, arrive func()) {
	rate := s.fast
	if s.left -= n; s.left < 0 || s.all > 0 && s.w.now > s.all {
		rate = s.slow
	}
	if rate == 0 || s.free[l]-s.w.now > s.queue {
		return
	}
	s.free[l] = max(s.free[l], s.w.now) + int64(float64(n)/rate)
	s.w.at(s.free[l], func() { l.send(n, arrive) })
}

// carry sends n bytes of the connection by a line.
func (t *tcp) carry(l *line, n int, arrive func()) {
	if t.shaper == nil {
		l.send(n, arrive)
		return
	}
	t.shaper.pass(l, n, arrive)
}
