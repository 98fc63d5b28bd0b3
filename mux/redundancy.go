package mux

import (
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/sched"
)

// copies says how many copies a packet of n bytes of a small flow gets.
func (s *Session) copies(f *fq.Flow, n int) int {
	switch p := s.mode.policy(); {
	case p.always:
		return 1
	case p.budgeted && f.Behaviour.Copied() && s.copyBudget.Covers(n) && s.farEnough:
		return sched.MaxCopies
	}
	return 0
}
