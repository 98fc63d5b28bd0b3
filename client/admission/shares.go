package admission

import "github.com/mpsocks/mpsocks/mux/ledger"

// ShareOfOne is what part of what all may hold one other machine may.
const ShareOfOne = 4

// Shares are what other machines have here, in the order of its last use: so much of all of
// them, of which one may have a part. The zero H is this machine, whose programs share as they
// like. It is not safe for concurrent use: its owner's lock guards it.
type Shares[H comparable, T any] struct {
	ledger.Ledger[H, T]
	Cap int // how much of all; it may be another one from now on
}

// Full returns what has to go before a machine may have one more.
func (s *Shares[H, T]) Full(machine H) (out T, full bool) {
	if out, full = s.Beyond(machine); full || s.Len() < s.Cap {
		return out, full
	}
	return s.First()
}

// Beyond returns what has to go of a machine's own, if it has its share.
func (s *Shares[H, T]) Beyond(machine H) (out T, full bool) {
	var here H
	if machine == here || s.Held(machine) < max(s.Cap/ShareOfOne, 1) {
		return out, false
	}
	return s.FirstOf(machine)
}
