package mux

import (
	"slices"

	"github.com/mpsocks/mpsocks/mux/engine"
)

// How paths come and go while a client runs. A path is added and removed by its
// owner; one over its byte cap (caps.go) only loses its slots and subflows.

// SetPaths replaces the paths live: subflows of missing ones are closed and
// withdrawn with REMOVE_ADDR, new ones are dialled, others keep running. None is
// one by the default route.
func (c *Client) SetPaths(paths []Path) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.cfg.Paths = paths
		return
	}
	c.setPaths(paths)
}

// setPaths is SetPaths while Run does. The caller holds mu.
func (c *Client) setPaths(paths []Path) {
	paths = c.spread(paths)
	var keep []*clientPath
	for _, p := range c.paths {
		if i := slices.IndexFunc(paths, func(n Path) bool { return n.sameWay(&p.way) }); i >= 0 {
			p.update(paths[i])
			keep = append(keep, p)
			continue
		}
		c.remove(p)
	}
	for _, n := range paths {
		if !slices.ContainsFunc(keep, func(p *clientPath) bool { return n.sameWay(&p.way) }) {
			if p := c.add(n); p != nil {
				keep = append(keep, p)
			}
		}
	}
	c.paths = keep
}

// DefaultPath is the name of the one path that there is when none is configured.
const DefaultPath = "default"

// Redial makes the subflows of some paths anew, by their names: each is kept until
// another has taken its place, or until it ends by itself; attempts begin anew, and pauses between
// them end. It is for paths that lead another way than before: in another network names may mean
// other addresses.
func (c *Client) Redial(names []string) {
	c.servers.renew()
	c.hurry(func(p *clientPath) bool {
		moved := slices.Contains(names, p.way.Name)
		if moved {
			p.mtu, p.least, p.took, p.moved = 0, 0, 0, true // it may be another network
			p.depart()
		}
		return moved
	})
	renew(c.session, func(f *subflow) bool { return slices.Contains(names, f.path.Name()) })
}

// Retry has the attempts of some paths begin anew, by their names: there is something by now that those
// under way began without, as a route.
func (c *Client) Retry(names []string) {
	c.hurry(func(p *clientPath) bool {
		named := slices.Contains(names, p.way.Name)
		if named {
			p.depart()
		}
		return named
	})
}

// renew makes some subflows anew: each is kept until another has taken its place.
func renew(s *Session, which func(*subflow) bool) {
	for _, f := range s.core.connections() {
		if which(f) {
			f.wantReplacement()
		}
	}
}

// Hurry ends the pauses between attempts of the paths that do not work: something
// has changed in the network.
func (c *Client) Hurry() {
	c.hurry(func(p *clientPath) bool { return !c.session.core.works(p.path) })
}

func (c *Client) hurry(which func(*clientPath) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.paths {
		if which(p) {
			close(p.again)
			p.again = make(chan struct{})
		}
	}
}

// spread returns the paths with a number in the place of `auto`. It does not grow
// when there are fewer: they may come back, and those that stay keep running. The caller
// holds mu.
func (c *Client) spread(paths []Path) []Path {
	if paths = slices.Clone(paths); len(paths) == 0 {
		paths = []Path{{Name: DefaultPath}}
	}
	c.auto = min(c.auto, autoShare(paths))
	for i := range paths {
		if paths[i].Subflows == 0 {
			paths[i].Subflows = c.auto
		}
	}
	return paths
}

// add makes a new path and starts its slots, unless it is over its cap. The caller holds
// Client.mu.
func (c *Client) add(n Path) *clientPath {
	p := &clientPath{c: c, way: n, cfg: n, up: make(chan struct{}), again: make(chan struct{})}
	c.session.enter(func(e *engine.Engine, _ int64) { p.path = e.AddPath(n.config(), -1) })
	if p.path == nil {
		c.cfg.Log.Error().Str("path", n.Name).Msgf("more than %d paths: this one is not used", engine.MaxPaths)
		return nil
	}
	known := c.meter.of(p).keep
	c.session.enter(func(*engine.Engine, int64) { p.path.SetKeepAlive(known) })
	if !c.meter.over(p, c.cfg.clock()) {
		p.start()
	}
	return p
}

// remove ends a path. What its subflows still bring is counted until they are
// gone: a path of that name may come back. The caller holds mu.
func (c *Client) remove(p *clientPath) {
	c.session.enter(func(e *engine.Engine, _ int64) { e.RemovePath(p.path) })
	c.meter.leaving = append(c.meter.leaving, p)
	p.stop()
	c.countBytes(c.cfg.clock())
}
