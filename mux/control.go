package mux

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// Everything but data: the options that a reader obeys and that a side sends
// (RFC 8684, Sections 3.4 to 3.7), and our probes.

// command obeys one option that is not a DSS. An error ends the subflow.
func (f *subflow) command(o *mptcp.Option) error {
	s := f.s
	if !s.commands.allow() {
		return errCommands
	}
	switch o.Subtype {
	case mptcp.MPExperimental:
		f.probe(&o.Experimental)
	case mptcp.MPPrio:
		s.enter(func(*engine.Engine, int64) { f.core.SetBackup(o.Prio.Backup) })
	case mptcp.MPAddAddr:
		f.addAddr(&o.AddAddr)
	case mptcp.MPRemoveAddr:
		f.removeAddr(&o.RemoveAddr)
	case mptcp.MPFastClose:
		if o.FastClose.Receiver != f.keys.local {
			return protocolErrorf("MP_FASTCLOSE with a wrong key")
		}
		go s.end.peerClosed(f.keys.epoch, false) // never waits for this reader
		return ErrPeerClosed
	case mptcp.MPFail:
		return protocolErrorf("peer reports a bad checksum at DSN %d", o.Fail.DSN)
	case mptcp.MPTCPRst:
		return &ResetError{Reason: o.Reset.Reason, Transient: o.Reset.Transient}
	default:
		return protocolErrorf("%s on an established subflow", o.Subtype)
	}
	return nil
}

// probe obeys an option of ours: what measures is the engine's.
func (f *subflow) probe(x *mptcp.Experimental) {
	switch x.Type {
	case probeVersion:
		f.peerVersion(x.Payload())
		return
	case probeLeave:
		f.leaving(x.Payload())
		return
	case probeUnsummed:
		f.s.unsummed.Store(true)
		return
	}
	answer := false
	f.s.enter(func(e *engine.Engine, now int64) { answer = e.Probe(f.core, x, now) })
	if answer {
		f.s.pump()
	}
}

// announce sends what a fresh subflow has to tell: the backup state of its
// path, and addresses that were not echoed yet.
func (f *subflow) announce() {
	s := f.s
	s.enter(func(e *engine.Engine, _ int64) {
		if s.client && f.path.Rests() {
			f.core.Control((&mptcp.Prio{Backup: true}).Append(nil))
		}
		if len(e.Subflows()) == 1 { // once a session, or when it resumes
			f.core.Control(engine.AppendProbe(appendVersion(nil), probeUnsummed))
		}
	})
	f.advertise()
}

// advertise sends the ADD_ADDRs that are due, and reports whether more may become so.
func (f *subflow) advertise() (more bool) {
	f.s.enter(func(_ *engine.Engine, now int64) {
		more = f.s.adverts.open()
		if o := f.s.adverts.due(nil, &f.keys, now); len(o) > 0 {
			f.core.Control(o)
		}
	})
	return more
}

// addAddr checks and echoes an announcement, or notes the echo of ours.
func (f *subflow) addAddr(o *mptcp.AddAddr) {
	s := f.s
	if o.Echo {
		s.enter(func(*engine.Engine, int64) { s.adverts.echoed(o.ID) })
		return
	}
	if o.HMAC != mptcp.AddAddrHMAC(f.keys.remote, f.keys.local, o.ID, o.Addr, o.Port) {
		return // RFC 8684, Section 3.4.1: ignore it
	}
	e := *o
	e.Echo = true
	f.queue(e.Append(nil))
	if s.advertised != nil && o.Port != 0 {
		go s.advertised(netip.AddrPortFrom(o.Addr, o.Port))
	}
}

// removeAddr: the peer lost an address. Its subflows are asked whether they
// still live (RFC 8684, Section 3.4.2), not killed blindly; until they answer they carry
// nothing. The one that says so lives.
func (f *subflow) removeAddr(o *mptcp.RemoveAddr) {
	f.s.enter(func(e *engine.Engine, now int64) {
		for _, g := range e.Subflows() {
			if g != f.core && slices.Contains(o.IDs[:o.N], g.Path().AddrID()) {
				g.Doubt(e, now)
			}
		}
	})
}

// checksumFailed resets the subflow with MP_FAIL (RFC 8684, Section 3.7). Inside
// TLS no middlebox can have changed the bytes, so there is no fallback to an
// infinite mapping: the other subflows, or a new one, carry the data again.
func (f *subflow) checksumFailed(dsn uint64) error {
	f.queue((&mptcp.Fail{DSN: dsn}).Append(nil))
	f.s.pump()
	return protocolErrorf("DSS checksum at DSN %d", dsn)
}

// leaveMost is the longest time until its end that a server is believed.
const leaveMost = 24 * time.Hour

// leaving obeys probeLeave.
func (f *subflow) leaving(payload []byte) {
	if f.s.left == nil || len(payload) != 8 {
		return // a server does not move
	}
	ms := binary.BigEndian.Uint64(payload)
	if ms == 0 || ms > uint64(leaveMost/time.Millisecond) {
		return
	}
	f.s.left(f.keys.epoch, time.Duration(ms)*time.Millisecond)
}

// peerVersion notes the peer's release and says so when it is another.
func (f *subflow) peerVersion(text []byte) {
	for _, c := range text {
		if c < ' ' || c > '~' {
			return
		}
	}
	known, s := false, f.s
	s.enter(func(*engine.Engine, int64) {
		known = s.version == string(text)
		s.version = string(text)
	})
	if !known && string(text) != Version {
		s.voice.Line(&s.log, zerolog.InfoLevel).Str("ours", Version).Str("theirs", string(text)).Msg("the other half is another release")
	}
}
