package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/handshake"
)

// How a client's subflow gets into the session: the first one opens it, the others
// wait for that and join; when the server has forgotten the session, one of those
// that were refused begins a new one.

// States of the session on the client.
const (
	stateNone         = iota
	stateEstablishing // one slot does MP_CAPABLE, the others wait
	stateEstablished  // slots join
)

// join does MP_CAPABLE when there is no session and MP_JOIN when there is.
func (c *Client) join(ctx context.Context, p *clientPath, v *proven) (*subflow, error) {
	k := v.carrier
	capture := c.cfg.Capture.subflow(carrier.AddrPort(k.LocalAddr()), carrier.AddrPort(k.RemoteAddr()), true)
	for {
		c.mu.Lock()
		state, changed := c.state, c.changed
		if state == stateNone {
			c.setState(stateEstablishing)
		}
		keys := c.session.keys() // under both locks: renew changes them with the state
		c.mu.Unlock()
		switch state {
		case stateNone:
			var err error
			keys, err = c.establish(p, k, capture)
			c.mu.Lock()
			if err != nil {
				c.setState(stateNone)
			} else {
				c.setState(stateEstablished)
			}
			c.mu.Unlock()
			if err != nil {
				return nil, err
			}
		case stateEstablishing:
			select {
			case <-changed:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			continue
		default:
			if c.deniedAt(v.addr) { // dialled before the server had said so
				if c.session.core.alive(keys.epoch) {
					return nil, errNotHere
				}
				c.renew(keys.epoch)
				continue
			}
			if err := c.joinExisting(p, k, capture, keys); err != nil {
				return nil, err
			}
		}
		f := newSubflow(c.session, p.path, k, keys)
		f.capture, f.peer = capture, v.key
		return f, nil
	}
}

func (c *Client) setState(state int) {
	c.state = state
	close(c.changed)
	c.changed = make(chan struct{})
}

// establish does MP_CAPABLE and returns the new keys.
func (c *Client) establish(p *clientPath, rw io.ReadWriter, capture *subflowCapture) (keys sessionKeys, err error) {
	local := handshake.NewKey()
	r, err := handshake.Capable(capture.tap(rw), local, false)
	if err != nil {
		return keys, err
	}
	s := c.session
	keys = s.establish(local, r.Remote, r.Checksum)
	s.enter(func(e *engine.Engine, _ int64) { e.Initial(p.path) })
	c.mu.Lock()
	c.denied = r.DenyJoin
	why := c.renewed
	c.renewed = ""
	c.mu.Unlock()
	line := c.cfg.Log.Info().Str("path", p.way.Name).Str("session", Number(s.ID()))
	if why != "" {
		line = line.Str("why", why)
	}
	line.Msg("session established")
	return keys, nil
}

// deniedAt says that the server takes no joins at an address (RFC 8684, Section
// 3.1, the C flag).
func (c *Client) deniedAt(a netip.AddrPort) bool {
	c.mu.Lock()
	denied := c.denied
	c.mu.Unlock()
	return denied && c.isConfigured(a)
}

// errForgotten is the refusal of a join whose token the server does not know.
var errForgotten = errors.New("the session is not known there")

// forgottenError is errForgotten with the keys that were refused.
type forgottenError struct {
	epoch uint64
	error
}

func (e *forgottenError) Unwrap() []error { return []error{errForgotten, e.error} }

// joinExisting does MP_JOIN with those keys.
func (c *Client) joinExisting(p *clientPath, rw io.ReadWriter, capture *subflowCapture, keys sessionKeys) error {
	par := handshake.Params{Local: keys.local, Remote: keys.remote}
	c.session.enter(func(*engine.Engine, int64) { par.AddrID, par.Backup = p.path.AddrID(), p.path.Rests() })
	err := handshake.Join(capture.tap(rw), par)
	var reset *ResetError
	if errors.As(err, &reset) && !reset.Transient {
		return &forgottenError{keys.epoch, fmt.Errorf("%w: %w", errForgotten, err)}
	}
	return err
}

// forgotten begins anew after the server refused a join, unless the session
// lives on other subflows (a load balancer may have led this one elsewhere).
func (c *Client) forgotten(epoch uint64) {
	if !c.session.core.alive(epoch) {
		c.renew(epoch)
	}
}

// renew begins a new session in the place of the one with that epoch, unless that
// was done: the slots that were refused with the same keys all ask for it. It
// holds the lock throughout, so that nobody joins with keys that are gone.
func (c *Client) renew(epoch uint64) {
	c.renewAfter(epoch, "the server does not know the session before any more")
}

// renewAfter is renew with what is said of it.
func (c *Client) renewAfter(epoch uint64, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == stateEstablished && c.session.renew(epoch) {
		c.setState(stateNone)
		for _, p := range c.paths {
			p.book.Renew()
		}
		c.renewed = why // who establishes the new one says it
		c.cfg.Log.Debug().Msg("a new session is begun: " + why)
	}
}
