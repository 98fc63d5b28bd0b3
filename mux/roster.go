package mux

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mpsocks/mpsocks/mux/engine"
)

// What the others ask of a session's subflows and paths.

// connections returns the connections of the subflows that there are.
func (g *guarded) connections() (fs []*subflow) {
	g.enter(func(e *engine.Engine, _ int64) {
		for _, f := range e.Subflows() {
			fs = append(fs, connOf(f))
		}
	})
	return fs
}

// count is how many there are.
func (g *guarded) count() (n int) {
	g.enter(func(e *engine.Engine, _ int64) { n = len(e.Subflows()) })
	return n
}

// sockets is how many there are with those that are about to join.
func (g *guarded) sockets() (n int) {
	g.enter(func(e *engine.Engine, _ int64) { n = len(e.Subflows()) + g.joining })
	return n
}

// expect counts a subflow that is about to join, if there are fewer than most, however many come
// together: attach ends that, or whoever gives it up.
func (g *guarded) expect(most int) (ok bool) {
	g.enter(func(e *engine.Engine, _ int64) {
		if ok = len(e.Subflows())+g.joining < most; ok {
			g.joining++
		}
	})
	return ok
}

// silent returns a subflow that has been silent for so long that the peer has another one in its place, or wants one,
// and that has not been ended; nil = there is none.
func (g *guarded) silent() (silent *subflow) {
	g.enter(func(e *engine.Engine, _ int64) {
		for _, f := range e.Subflows() {
			if f.State().Replaced() && !isDead(connOf(f)) {
				silent = connOf(f)
				return
			}
		}
	})
	return silent
}

// remotes are the addresses at which the session has subflows of a kind.
func (g *guarded) remotes(which func(*engine.Subflow) bool) (addrs []netip.AddrPort) {
	g.enter(func(e *engine.Engine, _ int64) {
		for _, f := range e.Subflows() {
			if a := connOf(f).remote; which(f) && !slices.Contains(addrs, a) {
				addrs = append(addrs, a)
			}
		}
	})
	return addrs
}

// works reports whether a path has a subflow that is not to be replaced for its
// silence.
func (g *guarded) works(p *engine.Path) (works bool) {
	g.enter(func(*engine.Engine, int64) {
		works = slices.ContainsFunc(p.Subflows(), func(f *engine.Subflow) bool {
			return f.State() != engine.Ended && !f.State().Replaced()
		})
	})
	return works
}

// narrow reports whether a path seems to lose large packets alone.
func (g *guarded) narrow(p *engine.Path) (narrow bool) {
	g.enter(func(*engine.Engine, int64) { narrow = p.Narrow() })
	return narrow
}

// alive reports whether the session has a subflow that moves, or other keys than
// those of that epoch.
func (g *guarded) alive(epoch uint64) (alive bool) {
	g.enter(func(e *engine.Engine, _ int64) { alive = e.Epoch() != epoch || e.Alive() })
	return alive
}

// silence is for how long the session's subflows have been silent; see engine.Silent.
func (g *guarded) silence() (long time.Duration) {
	g.enter(func(e *engine.Engine, now int64) { long = time.Duration(engine.Silent(e, now)) })
	return long
}

// abandoned reports whether the session has lost all its subflows. One that is still
// in its handshake has not.
func (g *guarded) abandoned() (abandoned bool) {
	g.enter(func(e *engine.Engine, now int64) { abandoned = e.Idle(now, int64(joinTimeout)) })
	return abandoned
}

// pathOf returns the path of an address ID, new if need be. It is called by the address of who came last: the
// client, or its NAT, may have another one now.
func (g *guarded) pathOf(id uint8, remote netip.AddrPort) (p *engine.Path) {
	g.enter(func(e *engine.Engine, _ int64) {
		name := remote.Addr().String()
		if p = e.PathOf(id, engine.PathConfig{Name: name}); p.Name() != name {
			p.Rename(name)
		}
	})
	return p
}
