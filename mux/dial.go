package mux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/dialer"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/handshake"
)

const (
	dialQuick        = 1200 * time.Millisecond
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	// silentStagger is the head start of one address over the next where the session has
	// subflows and all of them are silent: its server may be gone.
	silentStagger = 100 * time.Millisecond
	// maxServers is how many servers one attempt asks for the session: each has
	// proved its key, and did not know it.
	maxServers = 8
)

// way is what the path's sockets are bound to.
func (p *Path) dialWay() *dialer.Way {
	return &dialer.Way{Interface: p.Interface, Local: p.Local, KernelMPTCP: p.KernelMPTCP}
}

// A proven is a connection on which the server has proved its key.
type proven struct {
	carrier *carrier.TLS
	key     [32]byte // that the server proved
	addr    netip.AddrPort
}

// connect makes one subflow: the address that proves first that it is the server,
// and the MPTCP handshake with it. A server that does not know the session is not
// asked again before the others.
func (c *Client) connect(ctx context.Context, p *clientPath, timeout time.Duration) (*subflow, error) {
	var asked []netip.AddrPort // that do not know it
	var refused *forgottenError
	for len(asked) < maxServers {
		v, err := c.race(ctx, p, timeout, asked)
		if err != nil {
			if refused != nil { // no other server is left
				c.forgotten(refused.epoch)
				return nil, refused
			}
			return nil, judged(err, false)
		}
		f, err := c.open(ctx, p, v)
		if !errors.As(err, &refused) {
			return f, err
		}
		p.book.Unknown(v.addr, time.Now())
		if asked = append(asked, v.addr); c.lastServer(p, asked) {
			c.forgotten(refused.epoch)
			return nil, refused
		}
	}
	return nil, refused
}

// lastServer says that nobody else is likely to know the session: the others were
// asked or fail, or have it and are silent, while this one answers.
func (c *Client) lastServer(p *clientPath, asked []netip.AddrPort) bool {
	addrs, _, _ := c.targets(p)
	silent := c.session.core.remotes(func(f *engine.Subflow) bool { return !f.Moves() })
	moving := c.session.core.remotes((*engine.Subflow).Moves)
	addrs = slices.DeleteFunc(addrs, func(a netip.AddrPort) bool {
		return slices.Contains(asked, a) || slices.Contains(silent, a) && !slices.Contains(moving, a)
	})
	return p.book.Hopeless(addrs, time.Now())
}

// silent says that the session has subflows, and none of them moves.
func silent(s *Session) (silent bool) {
	s.enter(func(e *engine.Engine, _ int64) { silent = len(e.Subflows()) > 0 && !e.Alive() })
	return silent
}

// open does the MPTCP handshake and adds the subflow to the session.
func (c *Client) open(ctx context.Context, p *clientPath, v *proven) (*subflow, error) {
	stop := context.AfterFunc(ctx, func() { v.carrier.Close() })
	defer stop()
	v.carrier.SetDeadline(time.Now().Add(handshakeTimeout))
	f, err := c.join(ctx, p, v)
	if err != nil {
		v.carrier.Close()
		return nil, judged(fmt.Errorf("session with %s: %w", v.addr, plainNet(err)), true)
	}
	v.carrier.SetDeadline(time.Time{})
	if err := c.session.attach(f); err != nil {
		return nil, judged(err, true)
	}
	c.mu.Lock()
	p.said, p.bad = nil, ""
	close(p.up)
	p.up = make(chan struct{})
	c.mu.Unlock()
	c.cfg.Log.Debug().Str("path", p.way.Name).Stringer("local", f.local).Stringer("remote", f.remote).Msg("subflow up")
	return f, nil
}

// race returns the first connection on which the server proves its key, of all
// addresses but some.
func (c *Client) race(ctx context.Context, p *clientPath, timeout time.Duration, but []netip.AddrPort) (*proven, error) {
	c.askNames(p)
	var why error
	c.mu.Lock()
	mtu := p.mtu
	c.mu.Unlock()
	race := dialer.Race[*proven]{
		Targets: func() (addrs []netip.AddrPort, asking bool) {
			addrs, asking, why = c.targets(p)
			return slices.DeleteFunc(addrs, func(a netip.AddrPort) bool { return slices.Contains(but, a) }), asking
		},
		Try: func(ctx context.Context, a netip.AddrPort, mtu int, connected func()) (*proven, error) {
			return c.prove(ctx, p, a, mtu, timeout, connected)
		},
		Drop: func(v *proven) { v.carrier.Close() },
		Go:   c.slots.Go, MTU: mtu, Timeout: timeout,
	}
	if silent(c.session) {
		race.Stagger = silentStagger
	}
	won, failed, err := race.Run(ctx)
	now := time.Now()
	if won == nil {
		for _, a := range failed {
			p.book.Failed(a, now)
			c.unlearn(p, a)
		}
		if len(but) == 0 && ctx.Err() == nil {
			c.doubtNames()
		}
		if err == nil {
			err = why
		}
		return nil, err
	}
	for _, a := range won.Beaten {
		p.book.Failed(a, now)
	}
	p.book.Proved(won.Addr, now)
	c.mu.Lock()
	clamped := won.MTU != p.mtu
	p.mtu = won.MTU
	c.mu.Unlock()
	if clamped {
		c.cfg.Log.Warn().Str("path", p.way.Name).Int("mtu", won.MTU).Msg("the path loses large packets and says nothing: smaller ones are sent by it")
	}
	return won.Value, nil
}

// prove connects to one address and has the server prove its key. One that has another
// of its keys is asked again with that one.
func (c *Client) prove(ctx context.Context, p *clientPath, a netip.AddrPort, mtu int, timeout time.Duration, connected func()) (*proven, error) {
	v, err := c.proveOnce(ctx, p, a, mtu, timeout, connected)
	if errors.Is(err, handshake.ErrOtherKey) {
		v, err = c.proveOnce(ctx, p, a, mtu, timeout, connected)
	}
	return v, err
}

func (c *Client) proveOnce(ctx context.Context, p *clientPath, a netip.AddrPort, mtu int, timeout time.Duration, connected func()) (*proven, error) {
	dial, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tcp, err := p.way.dialWay().Dialer(dialer.Segment(mtu, a.Addr())).DialContext(dial, "tcp", a.String())
	if err != nil {
		return nil, plainNet(err)
	}
	connected()
	stop := context.AfterFunc(ctx, func() { tcp.Close() })
	defer stop()
	k := carrier.NewTLS(tcp, engine.MinLowat)
	greet := c.greet.Load()
	cfg, turn := greet.Config(time.Now())
	tcp.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := k.Client(ctx, cfg); err != nil {
		tcp.Close()
		return nil, fmt.Errorf("TLS with %s: %w", a, plainNet(greet.Explain(k.State(), turn, err)))
	}
	key, err := handshake.PeerKey(k.State())
	if err != nil {
		tcp.Close()
		return nil, err
	}
	return &proven{k, key, a}, nil
}

// plainNet drops from an error what differs from one attempt to the next, the port
// that this side has: what happened again is said once.
func plainNet(err error) error {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Source == nil {
		return err
	}
	plain := *op
	plain.Source = nil
	if err == error(op) {
		return &plain
	}
	return &rewritten{text: strings.ReplaceAll(err.Error(), op.Error(), plain.Error()), error: err}
}

// rewritten is an error with another text.
type rewritten struct {
	error
	text string
}

func (r *rewritten) Error() string { return r.text }
func (r *rewritten) Unwrap() error { return r.error }
