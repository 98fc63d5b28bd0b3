package mux

import (
	"sync"
	"sync/atomic"

	"github.com/mpsocks/mpsocks/mux/dsn"
)

// A receiveSpace is the receiving data sequence space under its own lock, so that
// readers of several subflows do not wait for the engine.
type receiveSpace struct {
	mu    sync.Mutex
	in    dsn.Space
	epoch uint64 // of the keys that it is for

	// For those without mu, as of the last publish.
	next    atomic.Uint64 // Data ACK to send
	total   atomic.Uint64 // octets
	pending atomic.Int64  // owed a Data ACK
	ackAt   atomic.Int64  // when one last went out
	halves  atomic.Bool   // the peer sends lower halves of DSNs, so it takes those of Data ACKs
}

// reset begins anew, for the keys of that epoch.
func (w *receiveSpace) reset(first, epoch uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.in.Reset(first)
	w.epoch = epoch
	w.next.Store(first)
	w.pending.Store(0)
}

// memory is how many bytes there are for what came behind gaps.
func (w *receiveSpace) memory() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.in.List()
}

// enter takes the mappings of a chunk, under the keys of that epoch, and keeps those
// that are new.
func (w *receiveSpace) enter(epoch uint64, pkts []received) (fresh []received, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if epoch != w.epoch { // a subflow from before a renewal, that has not ended yet
		return nil, ErrRenewed
	}
	fresh = pkts[:0]
	for _, r := range pkts {
		var ok bool
		if ok, err = w.in.Accept(r.dsn, uint32(len(r.pkt))); err != nil {
			err = protocolError(err.Error())
			break
		}
		if ok {
			fresh = append(fresh, r)
		}
	}
	// The Data ACK comes first: whoever sees that one is owed reads it afterwards.
	w.next.Store(w.in.Due)
	w.total.Store(w.in.Octets)
	if owed := w.in.Take(); owed != 0 {
		w.pending.Add(owed)
	}
	return fresh, err
}

// finish enters the peer's DATA_FIN, under the keys of that epoch: false if bytes before
// it have not come.
func (w *receiveSpace) finish(epoch, at uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	ok := epoch == w.epoch && w.in.Fin(at)
	w.next.Store(w.in.Due)
	return ok
}
