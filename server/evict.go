package server

import (
	"sort"
	"sync/atomic"
)

// evictShare is the part of the idle mappings that give way at once when
// the table is full, so that a full table is rarely searched.
const evictShare = 16

// clear makes room for a mapping of the client's where there is none, among its own
// first. It is called with no lock held.
func (p *peer) clear(now int64) {
	s := p.server
	spare := int64(s.spare)
	own := func(o *peer) bool { return o.client == p.client }
	every := func(*peer) bool { return true }
	if p.mappings.own.full() {
		s.roll.evict(&p.mappings.own.barren, own, now, spare)
	}
	if p.mappings.all.full() {
		s.roll.evict(&p.mappings.all.barren, every, now, spare)
	}
	if s.sockets.full(&p.client.sockets, mappingSocket) {
		s.roll.evict(&p.client.sockets.barren, own, now, spare)
	}
	if s.sockets.full(&p.client.sockets, mappingSocket) {
		s.roll.evict(&s.sockets.barren, every, now, spare)
	}
}

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
	sort.Slice(victims, func(i, j int) bool { return victims[i].sent < victims[j].sent })
	for _, v := range victims[:1+len(victims)/evictShare] {
		v.nat.mu.Lock()
		if m := v.nat.mappings[v.key]; m != nil && m.sent.Load() == v.sent {
			v.nat.drop(v.key, m)
		}
		v.nat.mu.Unlock()
	}
}
