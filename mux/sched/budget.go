package sched

// Redundancy budget: copies may take copyShare, 1.68 %, of what is carried, or copyFloor
// bytes a second while nothing large is under way: a few games and calls, whole. copyBurst
// is what may be saved up, a tenth of a second of that; and MaxCopies is how many a packet
// may have where there is budget and room. Something large is under way where copyLarge
// bytes a second were carried over some copyWindow ns of the last copyMemory: in less than
// that much may come at once, and then nothing for a moment.
const (
	copyShare  = 0.0168
	copyFloor  = 600e3
	copyLarge  = 4 * copyFloor
	copyWindow = 200e6
	copyMemory = 1e9
	copyBurst  = 64e3
	// Below a round trip of 1 ms a stall is found and mended sooner than the
	// copy would pay.
	CopyMinRTT = 1e6
	MaxCopies  = 3
	copySize   = 1500 // bytes: what is longer is not what a game or a call sends
)

// A Budget is the bytes that copies may take.
type Budget struct {
	tokens float64
	base   uint64  // what was carried when it was last refilled
	span   int64   // how long this window is by now, ns,
	moved  float64 // and what was carried in it
	large  int64   // for how long something large counts as under way, ns
}

// Refill gives the budget its share of the time that passed, in ns: of all that is
// carried in both directions when something large is under way, as the peer copies
// too; a fixed allowance when not. waits says that something large waits here.
func (b *Budget) Refill(passed int64, carried uint64, waits bool) {
	n := float64(carried - b.base)
	b.base = carried
	b.span, b.moved = b.span+passed, b.moved+n
	if b.large -= min(passed, b.large); b.moved > copyLarge*float64(max(b.span, copyWindow))/1e9 {
		b.large = copyMemory
	}
	if b.span >= copyWindow {
		b.span, b.moved = 0, 0
	}
	if b.large > 0 || waits {
		b.tokens += copyShare * n
	} else {
		b.tokens += copyFloor * float64(passed) / 1e9
	}
	b.tokens = min(b.tokens, copyBurst)
}

// Covers says that a packet of n bytes may have copies.
func (b *Budget) Covers(n int) bool { return n <= copySize && b.tokens > float64(n) }

// Spend takes the n bytes of a copy.
func (b *Budget) Spend(n int) { b.tokens -= float64(n) }
