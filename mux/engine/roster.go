package engine

import "slices"

// A roster has the paths and subflows of a session.
type roster struct {
	paths []*Path
	subs  []*Subflow
	slots uint64    // those in use, a bit set
	rec   *recorder // or nil
}

// Paths are the paths that are configured. The slice is the engine's.
func (r *roster) Paths() []*Path { return r.paths }

// Subflows are all that are attached. The slice is the engine's.
func (r *roster) Subflows() []*Subflow { return r.subs }

// AddPath adds a path, or returns nil when there are too many. A negative addrID gives
// it one of its own.
func (r *roster) AddPath(c PathConfig, addrID int) *Path {
	used := uint64(0)
	for _, p := range r.paths {
		used |= 1 << p.index
	}
	index := 0
	for used&(1<<index) != 0 {
		index++
	}
	if index >= MaxPaths {
		return nil
	}
	if addrID < 0 {
		addrID = index + 1
	}
	p := &Path{cfg: c, index: index, addrID: uint8(addrID), keeper: newKeeper()}
	if r.rec != nil {
		r.rec.addPath(p, addrID)
	}
	r.paths = append(r.paths, p)
	return p
}

// PathOf returns the path of an address ID, new if need be. Beyond MaxPaths the last
// one is shared: the scheduler only sees fewer paths.
func (r *roster) PathOf(id uint8, c PathConfig) *Path {
	if i := slices.IndexFunc(r.paths, func(p *Path) bool { return p.addrID == id }); i >= 0 {
		return r.paths[i]
	}
	if p := r.AddPath(c, int(id)); p != nil {
		return p
	}
	return r.paths[len(r.paths)-1]
}

// Initial makes a path the one with address ID 0 (RFC 8684, Section 3.2), by which the
// session began.
func (r *roster) Initial(p *Path) {
	if r.rec != nil {
		r.rec.note(entry{Op: "initial", Path: p.id})
	}
	for _, q := range r.paths {
		q.addrID = uint8(q.index + 1)
	}
	p.addrID = 0
}

// RemovePath forgets a path; its subflows carry nothing more.
func (r *roster) RemovePath(p *Path) {
	if r.rec != nil {
		r.rec.note(entry{Op: "remove", Path: p.id})
	}
	p.state = PathGone
	r.paths = slices.DeleteFunc(r.paths, func(q *Path) bool { return q == p })
}

// Alive reports whether some subflow moves.
func (r *roster) Alive() bool {
	return slices.ContainsFunc(r.subs, (*Subflow).Moves)
}

// replaceWait is how long a subflow may be stale before another is dialled for it.
func (r *roster) replaceWait() int64 {
	if r.Alive() {
		return replaceAfter
	}
	return replaceAlone
}

// ackFresh is how long, in ns, a path may bring nothing while others do before Data ACKs go by
// another: they might not get through any more, and the peer would take that for the fault of
// the paths by which it sends.
const ackFresh = 50e6

// AckBy chooses where a Data ACK of its own goes, or nil: a subflow that is to rest is
// left alone, and one of a path that is silent while others are not.
func (r *roster) AckBy() (best *Subflow) {
	heard := int64(0)
	for _, p := range r.paths {
		heard = max(heard, p.heard)
	}
	rank := func(f *Subflow) (rank int) {
		if f.backup || f.path.cfg.Metered || f.path.state == PathFull {
			rank = 2
		}
		if heard-f.path.heard > ackFresh {
			rank++
		}
		return rank
	}
	least := 0
	for _, f := range r.subs {
		if f.state != Moving {
			continue
		}
		if of := rank(f); best == nil || of < least || of == least && f.tx.srtt < best.tx.srtt {
			best, least = f, of
		}
	}
	return best
}

// countFlight adds up what the paths hold.
func (r *roster) countFlight() {
	for _, p := range r.paths {
		p.flight = 0
	}
	for _, f := range r.subs {
		if f.state == Moving {
			f.path.flight += f.tx.outstanding
		}
	}
}

// lead returns the path that has lately brought most.
func (r *roster) lead() (lead *Path) {
	for _, p := range r.paths {
		if lead == nil || p.proven > lead.proven {
			lead = p
		}
	}
	return lead
}

// lull returns how long the next Tick has time when nothing waits: what small flows alone
// have under way is looked at when the first of it would be overdue. Whatever they send
// meanwhile is overdue no sooner than stallTime from now.
func (r *roster) lull(now int64) int64 {
	next := int64(TickCalm)
	for _, f := range r.subs {
		if f.state == Ended {
			continue
		}
		if f.state.Stale() || f.path.doubted != 0 || f.path.works(now) || !f.tx.kernel {
			return TickBusy
		}
		limit := f.stallTime()
		next = min(next, limit)
		if f.marks.una != f.marks.tail {
			next = min(next, max(f.marks.at(f.marks.una).at, f.progress)+limit-now)
		}
	}
	return max(next, TickBusy)
}
