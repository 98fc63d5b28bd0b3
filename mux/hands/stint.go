package hands

import "time"

const (
	// long is how much work follows each other before others of the machine come first: who
	// waits behind it waits for so long, where the system alone would have them wait for a
	// turn of its own, 4 ms where it ticks 250 times a second.
	long = 200 * time.Microsecond
	// pause is after how long without work nobody waits for it any more: a processor that
	// had nothing to do went to others.
	pause = 50 * time.Microsecond
)

// A Stint is work that goes on without a pause, of one who does it piece by piece. Its zero
// value has done nothing.
type Stint struct {
	began, ended time.Time
	worked       time.Duration // of the pieces before
}

// Begin begins a piece.
func (s *Stint) Begin() {
	now := time.Now()
	if now.Sub(s.ended) > pause {
		s.worked = 0
	}
	s.began = now
}

// End ends it, and lets others first when there was much of it.
func (s *Stint) End() { s.end(Yield) }

func (s *Stint) end(yield func()) {
	now := time.Now()
	if s.worked += now.Sub(s.began); s.worked >= long {
		s.worked = 0
		yield()
		now = time.Now()
	}
	s.ended = now
}
