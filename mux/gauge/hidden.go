package gauge

// Hidden is the part of a path that its kernel knows nothing of: something on the way ends
// TCP and acknowledges for the peer (RFC 3135), so that the round trip to the peer, which
// probes measure, is longer than the kernel's.
type Hidden struct {
	least floor
	count int
}

const (
	// hiddenCount is how many probes have to agree.
	hiddenCount = 3
	// hiddenLeast is what a busy machine explains, ns.
	hiddenLeast = 15e6
)

// Add takes what a probe's round trip was longer than the kernel's, ns.
func (h *Hidden) Add(now, excess int64) {
	h.least.add(now, excess, h.count == 0)
	h.count++
}

// Least is the round trip, in ns, that all probes of the last time had beyond the kernel's;
// 0 if that is nothing that needs an explanation.
func (h *Hidden) Least() int64 {
	if h.count < hiddenCount || h.least.least() < hiddenLeast {
		return 0
	}
	return h.least.least()
}
