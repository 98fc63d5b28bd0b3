package mux

// Redundancy budget: copies may take 1.7 % of what is carried, or this many bytes
// a second while nothing large is under way.
const (
	copyShare = 0.017
	copyFloor = 600e3
	copyBurst = 64e3
	// Below a round trip of 1 ms a stall is found and mended sooner than the
	// copy would pay.
	copyMinRTT = 1e6
	maxCopies  = 3
	copySize   = 1500 // bytes: what is longer is not what a game or a call sends
)

// refill gives the redundancy budget its share of the time that passed: of all
// that is carried in both directions when something large is under way, as
// the peer copies too; a fixed allowance when not.
func (s *Session) refill(passed int64) {
	carried := s.octets + s.space.total.Load()
	n := float64(carried - s.copyBase)
	s.copyBase = carried
	if n > copyFloor*4*float64(passed)/1e9 || s.queue.backlog() > 0 {
		s.copyTokens += copyShare * n
	} else {
		s.copyTokens += copyFloor * float64(passed) / 1e9
	}
	s.copyTokens = min(s.copyTokens, copyBurst)
}

// copies says how many copies a packet of n bytes of a small flow gets.
func (s *Session) copies(f *flow, n int) int {
	switch s.mode {
	case ModeRedundant:
		return 1
	case ModeAuto:
		if n <= copySize && f.beh.rate < copyWindow && s.copyTokens > float64(n) && s.farEnough {
			return maxCopies
		}
	}
	return 0
}
