package mux

import (
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/fq"
)

// Counts are what a session, or several, have counted since they began: packets, and
// bytes of what was sent as copies.
type Counts struct {
	Renewals   uint64            `json:"renewals"`
	Copied     uint64            `json:"copied_bytes"`
	Reinjected uint64            `json:"reinjected_packets"`
	Repeats    uint64            `json:"received_repeats"`
	Restored   uint64            `json:"resequenced_packets"`
	Expired    uint64            `json:"resequencing_expired"`
	Drops      map[string]uint64 `json:"drops"` // by reason; Add makes every reason
}

// Add adds what others have counted.
func (c *Counts) Add(o *Counts) {
	c.Renewals += o.Renewals
	c.Copied += o.Copied
	c.Reinjected += o.Reinjected
	c.Repeats += o.Repeats
	c.Restored += o.Restored
	c.Expired += o.Expired
	if c.Drops == nil {
		c.Drops = make(map[string]uint64)
	}
	for _, reason := range fq.DropNames {
		c.Drops[reason] += o.Drops[reason]
	}
}

// CountsOf returns what a session has counted so far.
func CountsOf(s *Session) (c Counts) {
	var drops [len(fq.DropNames)]uint64
	s.enter(func(e *engine.Engine, _ int64) { c.Copied, c.Reinjected, c.Renewals, drops = engine.Tally(e) })
	c.Restored, c.Expired = s.reseq.counts()
	s.space.mu.Lock()
	c.Repeats = s.space.in.Repeats
	s.space.mu.Unlock()
	c.Drops = make(map[string]uint64, len(drops))
	for i, n := range drops {
		c.Drops[fq.DropNames[i]] = n
	}
	return c
}
