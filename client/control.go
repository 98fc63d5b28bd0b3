package client

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/mux"
)

// What a person changes by hand while the client runs. It holds until the client ends
// or the hand takes it back; the file stays as it is.

// PausePath takes a path out of use, or back into it. The last one stays.
func (c *Client) PausePath(name string, paused bool) error {
	return c.watch.Pause(name, paused)
}

// SetBackup makes a path a backup, or not.
func (c *Client) SetBackup(name string, backup bool) error {
	return c.watch.SetBackup(name, backup)
}

// SetMetered makes a path a metered one, or not.
func (c *Client) SetMetered(name string, metered bool) error {
	return c.watch.SetMetered(name, metered)
}

// Record has the tunnel write what its engine is told and answers to a file that is not
// there yet, for those who look for a fault (mux.Client.Record). It is called before Run.
func (c *Client) Record(path string) error {
	return c.mux.Record(path)
}

// maxClassed bounds the flows that were given a class by hand.
const maxClassed = 256

// ClassFlow gives the datagrams to a destination a class, or with "" takes that back.
func (c *Client) ClassFlow(to netip.AddrPort, class string) error {
	if c.mux == nil {
		return nil
	}
	if err := c.policy.classify(to, class); err != nil {
		return err
	}
	c.log.Info().Stringer("to", to).Str("class", strings.TrimSpace(class)).Msg("a flow's class was changed by hand")
	return nil
}

// A policy is how the tunnel treats flows: as the configuration says, behind what was
// set by hand.
type policy struct {
	tell func(mux.Mode, []mux.Rule, time.Duration)

	mu     sync.Mutex // guards the rest; held while the tunnel is told
	config mux.ClientConfig
	byHand []mux.Rule
}

// configure has another configuration hold.
func (p *policy) configure(config mux.ClientConfig) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.config = config
	p.set()
}

// classify gives the datagrams to a destination a class, or with "" takes that back.
func (p *policy) classify(to netip.AddrPort, class string) error {
	var rule mux.Rule
	if class != "" {
		k, err := mux.ParseClass(class)
		if err != nil {
			return err
		}
		rule = mux.Rule{To: netip.PrefixFrom(to.Addr(), to.Addr().BitLen()), Ports: [2]uint16{to.Port(), to.Port()}, DSCP: -1, Class: k}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byHand = slices.DeleteFunc(p.byHand, func(r mux.Rule) bool { return r.To.Addr() == to.Addr() && r.Ports[0] == to.Port() })
	if class != "" {
		if len(p.byHand) >= maxClassed {
			return fmt.Errorf("%d flows have a class by hand already", maxClassed)
		}
		p.byHand = append(p.byHand, rule)
	}
	p.set()
	return nil
}

// set tells the tunnel; the caller holds p.mu.
func (p *policy) set() {
	p.tell(p.config.Mode, slices.Concat(p.byHand, p.config.Rules), p.config.SessionTimeout)
}
