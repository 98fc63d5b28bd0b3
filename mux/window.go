package mux

import (
	"sync"
	"sync/atomic"
)

// maxHeld bounds the mappings that may wait for an earlier one: the send
// window in datagrams of 256 bytes.
const maxHeld = receiveWindow / 256

// receiveSpace is the receiver's side of the data sequence space: what came,
// each byte once. It does not hold packets: they are delivered on arrival.
type receiveSpace struct {
	next atomic.Uint64 // Data ACK to send; written under mu

	mu      sync.Mutex
	held    map[uint64]uint32 // mappings beyond next: DSN -> length
	packets uint64
	octets  uint64
	repeats uint64 // copies and reinjections that came second

	total   atomic.Uint64 // octets, for those without mu
	pending atomic.Int64  // owed a Data ACK: bytes accepted since the last, and repeats
}

func (w *receiveSpace) reset(first uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next.Store(first)
	w.held = make(map[uint64]uint32)
	w.pending.Store(0)
}

// accept enters one mapping and reports whether its bytes are new. Mappings
// are immutable, so a second copy has the same DSN and length; anything else
// is a protocol error.
func (w *receiveSpace) accept(dsn uint64, n uint32) (fresh bool, err error) {
	next := w.next.Load()
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
		}
		w.next.Store(next)
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
	}
	w.packets++
	w.octets += uint64(n)
	w.total.Store(w.octets)
	w.pending.Add(int64(n))
	return true, nil
}

// again counts a mapping that came before. Maybe the Data ACK for it went down
// with a subflow: another is owed.
func (w *receiveSpace) again() {
	w.repeats++
	w.pending.Add(1)
}
