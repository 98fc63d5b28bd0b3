package mux

import (
	"sync"
	"sync/atomic"
)

const (
	// maxHeld bounds the mappings that may wait for an earlier one: twice what
	// is sent without a Data ACK, see sendSegments.
	maxHeld = 2 * sendSegments
	// heldMemory is how many there may have been before their memory is given back.
	heldMemory = 4096
)

// receiveSpace is the receiver's side of the data sequence space: what came,
// each byte once. It does not hold packets: they are delivered on arrival.
type receiveSpace struct {
	mu      sync.Mutex
	due     uint64            // DSN of the first byte that has not come
	held    map[uint64]uint32 // mappings beyond it: DSN -> length
	most    int               // of them at once
	packets uint64
	octets  uint64
	repeats uint64 // copies and reinjections that came second
	owed    int64  // bytes accepted since publish, and repeats

	// For those without mu, as of the last publish.
	next    atomic.Uint64 // Data ACK to send
	total   atomic.Uint64 // octets
	pending atomic.Int64  // owed a Data ACK
}

func (w *receiveSpace) reset(first uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due, w.owed = first, 0
	w.next.Store(first)
	w.held, w.most = make(map[uint64]uint32), 0
	w.pending.Store(0)
}

// publish shows what accept has entered. The Data ACK comes first: whoever sees
// that one is owed reads it afterwards.
func (w *receiveSpace) publish() {
	w.next.Store(w.due)
	w.total.Store(w.octets)
	if w.owed != 0 {
		w.pending.Add(w.owed)
		w.owed = 0
	}
}

// accept enters one mapping and reports whether its bytes are new. Mappings
// are immutable, so a second copy has the same DSN and length; anything else
// is a protocol error. The caller publishes.
func (w *receiveSpace) accept(dsn uint64, n uint32) (fresh bool, err error) {
	next := w.due
	switch d := int64(dsn - next); {
	case d == 0:
		next += uint64(n)
		if len(w.held) != 0 {
			for {
				m, ok := w.held[next]
				if !ok {
					break
				}
				delete(w.held, next)
				next += uint64(m)
			}
			if len(w.held) == 0 && w.most > heldMemory {
				w.held, w.most = make(map[uint64]uint32), 0 // a map never shrinks
			}
		}
		w.due = next
	case d < 0:
		if d+int64(n) > 0 {
			return false, errOverlap
		}
		w.again()
		return false, nil
	default:
		if d > receiveWindow || len(w.held) >= maxHeld {
			return false, errWindow
		}
		if m, ok := w.held[dsn]; ok {
			if m != n {
				return false, errOverlap
			}
			w.again()
			return false, nil
		}
		w.held[dsn] = n
		w.most = max(w.most, len(w.held))
	}
	w.packets++
	w.octets += uint64(n)
	w.owed += int64(n)
	return true, nil
}

// again counts a mapping that came before. Maybe the Data ACK for it went down
// with a subflow: another is owed.
func (w *receiveSpace) again() {
	w.repeats++
	w.owed++
}
