package engine

// Unheard says that a path seems to lose large packets of the peer's alone: one of its subflows has
// stalled, and the peer's kernel, which needs only small ones for that, has acknowledged what was sent since,
// while nothing that the peer itself has to say comes. A peer that hangs looks the same, and so does one whose way is dead
// behind something that ends TCP (RFC 3135).
func Unheard(p *Path) bool {
	for _, f := range p.subs {
		if f.state.Stale() && f.tx.kernel && f.progress > f.staleAt && f.heard < f.staleAt {
			return true
		}
	}
	return false
}
