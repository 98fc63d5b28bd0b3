package dsn

import (
	"errors"
	"slices"
)

const (
	// maxHeld bounds the stretches of bytes that may wait for an earlier one: the
	// most that so many mappings without a Data ACK can leave gaps between.
	maxHeld = SendSegments / 2
	// stretchMemory is what a stretch takes.
	stretchMemory = 16
	// heldMemory is how many there may have been before their memory is given back.
	heldMemory = 1024
)

// What a peer does wrong with its mappings.
var (
	errOverlap = errors.New("mapping overlaps another one")
	errWindow  = errors.New("mapping beyond the receive window")
)

// A Space is the receiver's side of the data sequence space: what came, each byte
// once. It does not hold packets: they are delivered on arrival.
type Space struct {
	Due  uint64    // DSN of the first byte that has not come: the Data ACK to send
	held []stretch // what came beyond it, sorted, with a gap before each
	most int       // of them at once

	Packets uint64 // mappings that were new,
	Octets  uint64 // and their bytes
	Repeats uint64 // copies and reinjections that came second
	owed    int64  // bytes accepted, and repeats, since take
}

// A stretch is bytes without a gap, from one DSN up to another.
type stretch struct{ from, to uint64 }

// Reset begins anew with the first DSN of a session.
func (w *Space) Reset(first uint64) { w.Due, w.owed, w.held, w.most = first, 0, nil, 0 }

// List is how many bytes of memory the list of what came behind gaps is.
func (w *Space) List() int { return cap(w.held) * stretchMemory }

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
		if len(w.held) > 0 && int64(end-w.held[0].from) > 0 {
			return false, errOverlap
		}
		w.Due = end
		if len(w.held) > 0 && w.held[0].from == end {
			w.Due = w.held[0].to
			w.held = slices.Delete(w.held, 0, 1)
		}
		if len(w.held) == 0 && w.most > heldMemory {
			w.held, w.most = nil, 0
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
	if at == w.Due && len(w.held) == 0 {
		w.Due++
	}
	return at == w.Due-1
}

// hold enters what came behind a gap.
func (w *Space) hold(dsn, end uint64) (fresh bool, err error) {
	i := len(w.held) // the first stretch that begins behind dsn; most come in order
	for i > 0 && int64(w.held[i-1].from-dsn) > 0 {
		if i > 8 {
			i, _ = slices.BinarySearchFunc(w.held, dsn+1, func(s stretch, at uint64) int {
				return int(max(min(int64(s.from-at), 1), -1))
			})
			break
		}
		i--
	}
	var before, behind *stretch
	if i > 0 {
		before = &w.held[i-1]
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
	if i < len(w.held) {
		behind = &w.held[i]
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
		w.held = slices.Delete(w.held, i, i+1)
	case before != nil:
		before.to = end
	case behind != nil:
		behind.from = dsn
	case len(w.held) >= maxHeld:
		return false, errWindow
	default:
		w.held = slices.Insert(w.held, i, stretch{dsn, end})
		w.most = max(w.most, len(w.held))
	}
	return true, nil
}

// again counts a mapping that came before. Maybe the Data ACK for it went down
// with a subflow: another is owed.
func (w *Space) again() {
	w.Repeats++
	w.owed++
}
