package udpio

import (
	"sync"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// A Reassembler is a packet.Reassembler that several goroutines may use at once. Its
// zero value is ready.
type Reassembler struct {
	mu sync.Mutex
	r  packet.Reassembler // guarded by mu
}

// Add does as packet.Reassembler.Add.
func (r *Reassembler) Add(b []byte, h *packet.UDP) (payload []byte, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.r.Add(b, h)
}

// Held is how many bytes of halves wait.
func (r *Reassembler) Held() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.r.Held()
}
