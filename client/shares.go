package client

import "github.com/mpsocks/mpsocks/mux/ledger"

// shareOfOne is what part of what all may hold one other machine may.
const shareOfOne = 4

// shares are what other machines have here, in the order of its last use: so much of all of
// them, of which one may have a part. The zero H is this machine, whose programs share as they
// like.
type shares[H comparable, T any] struct {
	ledger.Ledger[H, T]
	most int
}

// full returns what has to go before a machine may have one more.
func (s *shares[H, T]) full(machine H) (out T, full bool) {
	if out, full = s.beyond(machine); full || s.Len() < s.most {
		return out, full
	}
	return s.First()
}

// beyond returns what has to go of a machine's own, if it has its share.
func (s *shares[H, T]) beyond(machine H) (out T, full bool) {
	var here H
	if machine == here || s.Held(machine) < max(s.most/shareOfOne, 1) {
		return out, false
	}
	return s.FirstOf(machine)
}
