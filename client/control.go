package client

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
)

// What a person changes by hand while the client runs. It holds until the client ends
// or the hand takes it back; the file stays as it is.

// PausePath takes a path out of use, or back into it. The last one stays.
func (c *Client) PausePath(name string, paused bool) error {
	return c.overridePath(name, func(o *override) { o.paused = paused })
}

// SetBackup makes a path a backup, or not.
func (c *Client) SetBackup(name string, backup bool) error {
	return c.overridePath(name, func(o *override) { o.backup = &backup })
}

// SetMetered makes a path a metered one, or not.
func (c *Client) SetMetered(name string, metered bool) error {
	return c.overridePath(name, func(o *override) { o.metered = &metered })
}

func (c *Client) overridePath(name string, change func(*override)) error {
	paths := c.configured()
	if !slices.ContainsFunc(paths, func(p conf.Path) bool { return p.Name == name }) {
		return fmt.Errorf("the configuration has no path %q", name)
	}
	w := &c.watch
	w.mu.Lock()
	o := w.overrides[name]
	change(&o)
	left := 0
	for _, p := range paths {
		if p.Name != name && !w.overrides[p.Name].paused {
			left++
		}
	}
	if o.paused && left == 0 {
		w.mu.Unlock()
		return fmt.Errorf("%s is the only path in use", name)
	}
	if w.overrides == nil {
		w.overrides = make(map[string]override)
	}
	w.overrides[name] = o
	w.mu.Unlock()
	c.log.Info().Str("path", name).Bool("paused", o.paused).Msg("a path was changed by hand")
	poke(c.look)
	return nil
}

// wanted is the paths of the configuration with what was changed by hand.
func (c *Client) wanted() []conf.Path {
	paths := slices.Clone(c.configured())
	w := &c.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	out := paths[:0]
	for _, p := range paths {
		o := w.overrides[p.Name]
		if o.paused {
			continue
		}
		if o.backup != nil {
			p.Backup = *o.backup
		}
		if o.metered != nil {
			p.Metered = *o.metered
		}
		out = append(out, p)
	}
	return out
}

// maxClassed bounds the flows that were given a class by hand.
const maxClassed = 256

// ClassFlow gives the datagrams to a destination a class, or with "" takes that back.
func (c *Client) ClassFlow(to netip.AddrPort, class string) error {
	if c.mux == nil {
		return nil
	}
	var rule mux.Rule
	if class != "" {
		k, err := mux.ParseClass(class)
		if err != nil {
			return err
		}
		rule = mux.Rule{To: netip.PrefixFrom(to.Addr(), to.Addr().BitLen()), Ports: [2]uint16{to.Port(), to.Port()}, DSCP: -1, Class: k}
	}
	c.policyMu.Lock()
	defer c.policyMu.Unlock()
	same := func(r mux.Rule) bool { return r.To.Addr() == to.Addr() && r.Ports[0] == to.Port() }
	c.byHand = slices.DeleteFunc(c.byHand, same)
	if class != "" {
		if len(c.byHand) >= maxClassed {
			return fmt.Errorf("%d flows have a class by hand already", maxClassed)
		}
		c.byHand = append(c.byHand, rule)
	}
	c.log.Info().Stringer("to", to).Str("class", strings.TrimSpace(class)).Msg("a flow's class was changed by hand")
	c.setPolicy()
	return nil
}

// setPolicy tells the tunnel the configuration's policy behind what was set by hand.
// The caller holds policyMu.
func (c *Client) setPolicy() {
	p := c.policy
	c.mux.SetPolicy(p.Mode, slices.Concat(c.byHand, p.Rules), p.SessionTimeout)
}
