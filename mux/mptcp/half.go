package mptcp

// Half is what one end of a subflow remembers of a kind of 64-bit number, to send or read the
// lower half alone (RFC 8684, Section 3.3.1). TCP keeps the order of a subflow, so that both
// ends remember the same: a number is meant that lies nearest to the one before it there. What
// a stalled subflow brings late is read rightly, however far the others have gone on.
type Half struct {
	last  uint64
	known bool
}

// Enough notes the next number to send, and reports whether its lower half says it.
func (h *Half) Enough(n uint64) bool {
	enough := h.known && Expand(h.last, uint32(n)) == n
	h.last, h.known = n, true
	return enough
}

// Read notes the next number that came, whole or its lower half, and returns all of it. What is
// first and no more than a half lies nearest to expected.
func (h *Half) Read(n uint64, whole bool, expected uint64) uint64 {
	if !whole {
		if h.known {
			expected = h.last
		}
		n = Expand(expected, uint32(n))
	}
	h.last, h.known = n, true
	return n
}
