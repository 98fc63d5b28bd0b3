package mux

import (
	"errors"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/handshake"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// welcome reads the first option: a new session or a join. keep is called before the
// subflow lives: the end of its handshake is not its end any more. It is done at a bench, as
// TLS's part is: a session that begins costs about as much.
func (l *Listener) welcome(k *carrier.TLS, keep func() bool, at *bench) error {
	key, err := handshake.PeerKey(k.State())
	if err != nil {
		return err
	}
	shown := l.live.Load().Capture.Subflow(carrier.AddrPort(k.LocalAddr()), carrier.AddrPort(k.RemoteAddr()), false)
	rw := shown.Tap(k)
	first, err := handshake.ReadFirst(rw)
	if err != nil {
		return err
	}
	if first.Subtype == mptcp.MPJoin {
		s, err := l.sessions.find(key, first.Join.Token)
		if err != nil {
			return errors.Join(err, handshake.Refuse(rw, mptcp.ReasonMPTCP))
		}
		over := false
		at.without(func() {
			select { // a join may overtake the last message of the session's own handshake
			case <-s.keyed:
			case <-s.end.done:
				over = true
			}
		})
		if over {
			return errors.Join(ErrClosed, handshake.Refuse(rw, mptcp.ReasonMPTCP))
		}
		keys := s.keys()
		par := handshake.Params{Local: keys.local, Remote: keys.remote, AddrID: 0, Ack: s.space.next.Load()}
		if !l.expect(s) {
			full := &limitError{s.Peer(), limitSubflows}
			return errors.Join(full, handshake.RefuseFull(rw, full.limit))
		}
		if err := handshake.AcceptJoin(rw, &first, par); err != nil {
			s.enter(func(*engine.Engine, int64) { s.core.joining-- })
			return err
		}
		keep()
		return l.attach(s, k, shown, first.Join.AddrID, first.Join.Backup, true)
	}
	s, err := l.open(key)
	if full, ok := errors.AsType[*limitError](err); ok {
		return errors.Join(err, handshake.RefuseFull(rw, full.limit))
	}
	if err != nil {
		return errors.Join(err, handshake.RefuseTransient(rw, mptcp.ReasonResources))
	}
	local := l.sessions.register(s, l.live.Load().Advertise)
	if !l.live.Load().govern(s) { // a Change since open did not find it
		return errors.Join(errRevoked, handshake.RefuseTransient(rw, mptcp.ReasonResources))
	}
	r, err := handshake.AcceptCapable(rw, &first, local, l.live.Load().DenyJoinInitial)
	if err != nil {
		l.tasks.Go(func() { s.end.shut(err, false) })
		return err
	}
	s.establish(local, r.Remote, r.Checksum)
	l.tasks.Go(func() { s.monitor.run(l.running()) })
	s.voice.Line(&s.log, zerolog.InfoLevel).Str("session", sessionNumber(uint32(local.Token()))).Msg("session established")
	keep()
	if err := l.attach(s, k, shown, 0, false, false); err != nil {
		l.tasks.Go(func() { s.end.shut(err, false) }) // nothing else would end it
		return err
	}
	return nil
}

// expect has one more subflow join a session, unless that or its client has as many as it may, of which none has
// been silent for long: one that has gives way, for its client may have left it, and what it said of that may not have
// come. What is counted is taken at once, however many come together.
func (l *Listener) expect(s *Session) bool {
	cfg, own := l.live.Load(), l.allowances.client(s.identity)
	own.joins.Lock()
	defer own.joins.Unlock()
	if l.sessions.files(s.identity) < cfg.filesOf() && s.core.expect(cfg.MaxSubflows) {
		return true
	}
	silent := s.core.silent()
	if silent == nil {
		return false
	}
	silent.abandon()
	s.enter(func(*engine.Engine, int64) { s.core.joining++ })
	return true
}
