package server

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// What leaves from an address that this server has no more does not go, though no socket says so: a
// datagram's socket drops all that its program sends, for as long as it does, and TCP holds a connection for a
// quarter of an hour. Lines that are reconnected every night, and leases and prefixes that end, do that to
// servers at home.

const (
	// renumberRest is how long an address has to be away before its connections are reset: the
	// system may be about to set it anew.
	renumberRest = 5 * time.Second
	// renumberSpan is how long before that another one may have come in its place.
	renumberSpan = time.Minute
)

// renumber has what left from addresses that are gone begin anew or end, until ctx ends.
func renumber(ctx context.Context, s *Server) {
	tick := time.NewTicker(ownTick)
	defer tick.Stop()
	var mappings departures
	var connects renumbering
	for {
		mappings.look(&s.outlet, s.roll.list)
		if lost := connects.look(s.now(), s.rules.current.Load().own); len(lost) > 0 {
			strand(s, lost)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// strand resets the CONNECTs that left from these addresses.
func strand(s *Server, lost map[netip.Addr]bool) {
	for a := range lost {
		s.log.Info().Stringer("address", a).Msg("an address is gone, and another one in its place: the CONNECTs that left from it are reset")
	}
	s.exits.end(func(e *exit) bool {
		c := e.conn()
		if c == nil {
			return false
		}
		at, ok := c.LocalAddr().(*net.TCPAddr)
		return ok && lost[at.AddrPort().Addr().WithZone("").Unmap()]
	})
}

// departures are the addresses of relay.bind's interface that mappings leave from, by family.
type departures [2]struct {
	now    netip.Addr
	rounds int // that are left: one may be about to be made
}

// look ends the mappings of another address than that of now. Where there is none at the moment the one of
// before may come back.
func (d *departures) look(o *outlet, peers func() []*peer) {
	if o.egress.bind == "" || o.egress.fixed.IsValid() {
		return
	}
	for i := range d {
		f := &d[i]
		now, err := o.egress.local(i == 0)
		if err != nil {
			continue
		}
		if now != f.now {
			f.now, f.rounds = now, 2
		}
		if f.rounds == 0 {
			continue
		}
		f.rounds--
		for _, p := range peers() {
			p.nat.cull(func(m *mapping) bool { // but for the ports that clients have published
				at := m.conn.LocalAddr().Addr()
				return m.visitors == nil && at.Is4() == now.Is4() && at != now
			})
		}
	}
}

// A renumbering knows which addresses of this server are gone, and whether others have come in their
// places: else their line may only be interrupted.
type renumbering struct {
	own  own                  // when it was last looked at; nil before
	gone map[netip.Addr]int64 // since when, by Server.now
	came [2]int64             // when the newest address of each family did, 0 = none has
}

// look returns the addresses whose connections go on no more, each once.
func (r *renumbering) look(now int64, have own) (lost map[netip.Addr]bool) {
	if r.own == nil {
		r.own, r.gone = have, make(map[netip.Addr]int64)
		return nil
	}
	for a := range have {
		if _, back := r.gone[a]; have.has(a) && !r.own.has(a) && !back && !a.IsLinkLocalUnicast() {
			r.came[familyOf(a)] = now
		}
	}
	for a := range r.own {
		if r.own.has(a) && !have.has(a) {
			r.gone[a] = now
		}
	}
	r.own = have
	for a, since := range r.gone {
		came := r.came[familyOf(a)]
		switch {
		case have.has(a):
			delete(r.gone, a)
		case now-since >= int64(renumberRest) && came > 0 && came >= since-int64(renumberSpan):
			delete(r.gone, a)
			if lost == nil {
				lost = make(map[netip.Addr]bool)
			}
			lost[a] = true
		}
	}
	return lost
}
