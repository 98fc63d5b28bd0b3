package udpio

import "time"

const (
	// maxBurst is how much one destination gets without a pause, of what its datagrams cost
	// there: two thirds of a socket's receive buffer where nobody has asked for another
	// (net.core.rmem_default, 212,992). A program on this machine may wait for the very
	// processor that we have, and loses what is beyond.
	maxBurst = 140 << 10
	// datagramCost is what a datagram costs there beside its bytes.
	datagramCost = 1 << 10
	// drained is how much of it a destination is believed to take in a second while we run:
	// 100,000 datagrams of 1,200 bytes.
	drained = 220e6
)

// A Burst is what the destination that has had the most of late has had, so that none gets
// more at once than it can hold. K is what destinations differ in. It belongs to one goroutine
// at a time; the zero value is nothing.
type Burst[K comparable] struct {
	to   K
	cost int
	at   time.Time // of Drain
}

// Drain counts the time that has passed since it was called last.
func (b *Burst[K]) Drain() {
	now := time.Now()
	b.cost = max(0, b.cost-int(now.Sub(b.at).Seconds()*drained))
	b.at = now
}

// Turn has b be about a destination that is to get datagrams of that cost in all, unless
// another has had more.
func (b *Burst[K]) Turn(to K, cost int) {
	if b.to != to && cost >= b.cost {
		b.to, b.cost = to, 0
	}
}

// Takes counts n datagrams of so many bytes together for a destination. It says whether they
// may go at once, or only after Pause.
func (b *Burst[K]) Takes(to K, n, bytes int) bool {
	cost := bytes + n*datagramCost
	b.Turn(to, cost)
	if b.to != to {
		b.cost -= cost // so that whoever gets most is noticed at last
		return true
	}
	ok := b.cost == 0 || b.cost+cost <= maxBurst
	if !ok {
		b.cost = 0
	}
	b.cost += cost
	return ok
}
