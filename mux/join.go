package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/capture"
	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/handshake"
)

// How a client's subflow gets into the session: the first one opens it, the others
// wait for that and join; when the server has forgotten the session, one of those
// that were refused begins a new one.

// join does MP_CAPABLE when there is no session and MP_JOIN when there is.
func (p *clientPath) join(ctx context.Context, v *proven) (*subflow, error) {
	c, k := p.c, v.carrier
	shown := c.cfg.Capture.Subflow(carrier.AddrPort(k.LocalAddr()), carrier.AddrPort(k.RemoteAddr()), true)
	for {
		state, changed, keys := c.opening.turn(k.Close)
		switch state {
		case stateNone:
			var err error
			keys, err = p.establish(k, shown)
			c.opening.opened(err == nil)
			if err != nil {
				return nil, err
			}
		case stateEstablishing:
			long := time.NewTimer(handshakeTimeout)
			select {
			case <-changed:
			case <-long.C:
				if v.near() {
					c.opening.cut(changed)
				}
			case <-ctx.Done():
				long.Stop()
				return nil, ctx.Err()
			}
			long.Stop()
			k.SetDeadline(time.Now().Add(v.joins())) // its own handshake has yet to begin
			continue
		default:
			if c.opening.denies() && !announced(p, v.addr) { // dialled before the server had said so, or in need
				if c.session.core.alive(v.epoch) { // or it is another one by now
					return nil, errNotHere
				}
				c.opening.forgotten(ctx, v.epoch)
				continue
			}
			if err := p.joinExisting(k, shown, keys); err != nil {
				return nil, err
			}
		}
		f := newSubflow(c.session, p.path, k, keys)
		f.capture, f.peer, f.mtu = shown, v.key, v.mtu
		return f, nil
	}
}

// establish does MP_CAPABLE and returns the new keys.
func (p *clientPath) establish(rw io.ReadWriter, shown *capture.Subflow) (keys sessionKeys, err error) {
	local := handshake.NewKey()
	r, err := handshake.Capable(shown.Tap(rw), local, false)
	if err != nil {
		return keys, err
	}
	s := p.c.session
	keys = s.establish(local, r.Remote, r.Checksum)
	s.enter(func(e *engine.Engine, _ int64) { e.Initial(p.path) })
	why := p.c.opening.agreed(r.DenyJoin)
	line := s.voice.Line(&p.c.cfg.Log, zerolog.InfoLevel).Str("path", p.way.Name).Str("session", sessionNumber(s.ID()))
	if why != "" {
		line = line.Str("why", why)
	}
	line.Msg("session established")
	return keys, nil
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
func (p *clientPath) joinExisting(rw io.ReadWriter, shown *capture.Subflow, keys sessionKeys) error {
	par := handshake.Params{Local: keys.local, Remote: keys.remote}
	p.c.session.enter(func(*engine.Engine, int64) { par.AddrID, par.Backup = p.path.AddrID(), p.path.Rests() })
	err := handshake.Join(shown.Tap(rw), par)
	var reset *ResetError
	if errors.As(err, &reset) && !reset.Transient {
		return &forgottenError{keys.epoch, fmt.Errorf("%w: %w", errForgotten, err)}
	}
	return err
}
