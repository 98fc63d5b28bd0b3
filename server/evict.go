package server

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// evictShare is the part of the idle mappings that give way at once when
// the table is full, so that a full table is rarely searched.
const evictShare = 16

// evict makes room among the mappings of some peers: the longest idle give way, if they
// have been idle for longer than spare (REQ-5). It is called with no lock held.
func (r *roll) evict(barren *atomic.Int64, among func(*peer) bool, now, spare int64) {
	if now < barren.Load() {
		return
	}
	type victim struct {
		nat  *nat
		key  uint64
		sent int64
	}
	var victims []victim
	oldest := now
	for _, p := range r.list() {
		if !among(p) {
			continue
		}
		p.nat.mu.RLock()
		for key, m := range p.nat.mappings {
			if m.visitors != nil {
				continue
			}
			sent := m.sent.Load()
			oldest = min(oldest, sent)
			if now-sent > spare {
				victims = append(victims, victim{&p.nat, key, sent})
			}
		}
		p.nat.mu.RUnlock()
	}
	if len(victims) == 0 {
		barren.Store(oldest + spare)
		return
	}
	slices.SortFunc(victims, func(a, b victim) int { return cmp.Compare(a.sent, b.sent) })
	for _, v := range victims[:1+len(victims)/evictShare] {
		v.nat.mu.Lock()
		if m := v.nat.mappings[v.key]; m != nil && m.sent.Load() == v.sent {
			v.nat.drop(v.key, m)
		}
		v.nat.mu.Unlock()
	}
}
