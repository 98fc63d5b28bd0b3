// Package lull decides when whoever reads a socket had better rest. What a paced path or a
// program of an even rate brings comes in single pieces, and each wakes a half, which does
// for one what it could do for ten. Where a round trip is long, and pieces come so often that
// a rest of a millisecond gathers some, the reader rests and then takes all.
//
// A Reader decides; its owner says what comes and when. While Rests says so the owner does
// not let the system wake it, and has Join look in its place.
//
// An Alarm is what a goroutine waits for that has something to do at times, so that no
// thread is woken but the one that it runs on. Pause is a rest that only the end of a
// context cuts short.
package lull

const (
	// Rest is how long, in ns, a piece waits at most for those behind it; half of that in
	// the mean.
	Rest = int64(1e6)
	// far is the least round trip, in ns, in which four such rests, a datagram's and its
	// answer's in two halves, are no matter: a program that waits for its answers before it
	// sends more loses a tenth at most.
	far = int64(16e6)
	// count is how long, in ns, is looked at what comes, and steady how many times in a row
	// it has to be worth a rest: a picture of a film is a burst that is over before.
	count  = int64(10e6)
	steady = 3
	// often is how many looks brought something in two rests, at least.
	often = int64(3)
	// most is how many bytes come in a rest at most: of more a look finds several as it is.
	most = int64(64 << 10)
)

// Far says that a round trip of so many ns is long enough for a rest; 0 is one that is not
// known.
func Far(trip int64) bool { return trip >= far }

// A Reader is who reads one socket. Its zero value does not rest.
type Reader struct {
	since int64 // when the count began,
	looks int64 // and what came in it
	bytes int64
	fresh int64 // bytes since the last look
	run   int   // counts in a row that were worth a rest
	least int64 // bytes of a count below which a rest brings nothing any more
	rests bool
}

// Rests says that the reader rests between two looks.
func (r *Reader) Rests() bool { return r.rests }

// Brought notes so many bytes; a look may have several of them.
func (r *Reader) Brought(n int) { r.fresh += int64(n) }

// Looked ends a look, at that time in ns, and says whether a rest follows. Where may is
// false none does.
func (r *Reader) Looked(now int64, may bool) bool {
	if !may {
		*r = Reader{}
		return false
	}
	if r.fresh > 0 {
		r.looks, r.bytes, r.fresh = r.looks+1, r.bytes+r.fresh, 0
	}
	passed := now - r.since
	if passed < count && passed >= 0 {
		return r.rests
	}
	bytes := r.bytes * count / max(passed, 1) // of a count
	fits := bytes*Rest <= most*count && passed >= 0
	switch {
	case r.rests:
		r.rests = fits && bytes >= r.least
	case fits && 2*r.looks*Rest >= often*passed:
		if r.run++; r.run >= steady {
			r.rests, r.least = true, bytes/2
		}
	default:
		r.run = 0
	}
	if !r.rests && r.least > 0 {
		r.run, r.least = 0, 0
	}
	r.since, r.looks, r.bytes = now, 0, 0
	return r.rests
}
