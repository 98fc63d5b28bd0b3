package dsn

import "errors"

// maxHeld bounds the stretches of bytes that may wait for an earlier one: the most that so
// many mappings without a Data ACK can leave gaps between.
const maxHeld = SendSegments / 2

// What a peer does wrong with its mappings.
var (
	errOverlap = errors.New("mapping overlaps another one")
	errWindow  = errors.New("mapping beyond the receive window")
)

// A Space is the receiver's side of the data sequence space: what came, each byte
// once. It does not hold packets: they are delivered on arrival.
type Space struct {
	Due  uint64    // DSN of the first byte that has not come: the Data ACK to send
	held stretches // what came beyond it, with a gap before each

	Packets uint64 // mappings that were new,
	Octets  uint64 // and their bytes
	Repeats uint64 // copies and reinjections that came second
	owed    int64  // bytes accepted, and repeats, since take
}

// Reset begins anew with the first DSN of a session.
func (w *Space) Reset(first uint64) { w.Due, w.owed, w.held = first, 0, stretches{} }

// List is how many bytes of memory the list of what came behind gaps is.
func (w *Space) List() int { return w.held.memory() }

// Take returns how much more a Data ACK is owed for since the last call.
func (w *Space) Take() (owed int64) {
	owed, w.owed = w.owed, 0
	return owed
}

// Accept enters one mapping and reports whether its bytes are new. Mappings are
// immutable (RFC 8684, Section 3.3.1), so a copy lies within what came; one that
// overlaps anything in another way, behind a gap as well, is an error.
func (w *Space) Accept(dsn uint64, n uint32) (fresh bool, err error) {
	end := dsn + uint64(n)
	switch d := int64(dsn - w.Due); {
	case d == 0:
		first := w.held.at(place{})
		if first != nil && int64(end-first.from) > 0 {
			return false, errOverlap
		}
		w.Due = end
		if first != nil && first.from == end {
			w.Due = first.to
			w.held.remove(place{})
		}
	case d < 0:
		if int64(end-w.Due) > 0 {
			return false, errOverlap
		}
		w.again()
		return false, nil
	default:
		if d > ReceiveWindow {
			return false, errWindow
		}
		if fresh, err = w.hold(dsn, end); !fresh {
			return false, err
		}
	}
	w.Packets++
	w.Octets += uint64(n)
	w.owed += int64(n)
	return true, nil
}

// Fin enters DATA_FIN, which takes one DSN: false if bytes before it have not come.
func (w *Space) Fin(at uint64) bool {
	if at == w.Due && w.held.n == 0 {
		w.Due++
	}
	return at == w.Due-1
}

// hold enters what came behind a gap.
func (w *Space) hold(dsn, end uint64) (fresh bool, err error) {
	at := w.held.behind(dsn)
	before, behind := w.held.before(at), w.held.at(at)
	if before != nil {
		switch {
		case int64(end-before.to) <= 0:
			w.again()
			return false, nil
		case int64(dsn-before.to) < 0:
			return false, errOverlap
		case dsn != before.to:
			before = nil
		}
	}
	if behind != nil {
		switch {
		case int64(end-behind.from) > 0:
			return false, errOverlap
		case end != behind.from:
			behind = nil
		}
	}
	switch {
	case before != nil && behind != nil:
		before.to = behind.to
		w.held.remove(at)
	case before != nil:
		before.to = end
	case behind != nil:
		behind.from = dsn
	case w.held.n >= maxHeld:
		return false, errWindow
	default:
		w.held.insert(at, stretch{dsn, end})
	}
	return true, nil
}

// again counts a mapping that came before. Maybe the Data ACK for it went down
// with a subflow: another is owed.
func (w *Space) again() {
	w.Repeats++
	w.owed++
}
