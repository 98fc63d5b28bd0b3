package mux

import (
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// Everything but data: the options that a reader obeys and that a side sends
// (RFC 8684, Sections 3.4 to 3.7), and our probes.

// command obeys one option that is not a DSS. An error ends the subflow.
func (f *subflow) command(o *mptcp.Option) error {
	s := f.s
	switch o.Subtype {
	case mptcp.MPExperimental:
		f.probe(&o.Experimental)
	case mptcp.MPPrio:
		s.enter(func(*engine.Engine, int64) { f.core.SetBackup(o.Prio.Backup) })
	case mptcp.MPAddAddr:
		s.addAddr(f, &o.AddAddr)
	case mptcp.MPRemoveAddr:
		s.removeAddr(&o.RemoveAddr)
	case mptcp.MPFastClose:
		if o.FastClose.Receiver != f.keys.local {
			return protocolErrorf("MP_FASTCLOSE with a wrong key")
		}
		go s.peerClosed(f.keys.epoch, false) // never waits for this reader
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
		f.s.peerVersion(x.Payload())
		return
	case probeLeave:
		f.leaving(x.Payload())
		return
	}
	answer := false
	f.s.enter(func(e *engine.Engine, now int64) { answer = e.Probe(f.core, x, now) })
	if answer {
		f.s.pump()
	}
}

// An advert is an address that this side announces until the peer echoes it.
type advert struct {
	id     uint8
	addr   netip.AddrPort
	echoed bool
	tries  int
	at     int64
}

// maxAdverts bounds the attempts for one address.
const maxAdverts = 10

// announce sends what a fresh subflow has to tell: the backup state of its
// path, and addresses that were not echoed yet.
func (s *Session) announce(f *subflow) {
	s.enter(func(e *engine.Engine, _ int64) {
		if s.client && f.path.Rests() {
			f.core.Control((&mptcp.Prio{Backup: true}).Append(nil))
		}
		if len(e.Subflows()) == 1 { // once a session, or when it resumes
			f.core.Control(appendVersion(nil))
		}
	})
	s.advertise(f)
}

// advertise sends the ADD_ADDRs that are due on f (RFC 8684, Section 3.4.1).
func (s *Session) advertise(f *subflow) {
	s.enter(func(_ *engine.Engine, now int64) {
		for i := range s.adverts {
			a := &s.adverts[i]
			if a.echoed || a.tries >= maxAdverts || (a.tries > 0 && now-a.at < 1e9) {
				continue
			}
			a.tries++
			a.at = now
			o := mptcp.AddAddr{ID: a.id, Addr: a.addr.Addr(), Port: a.addr.Port()}
			o.HMAC = mptcp.AddAddrHMAC(f.keys.local, f.keys.remote, o.ID, o.Addr, o.Port)
			f.core.Control(o.Append(nil))
		}
	})
}

// addAddr checks and echoes an announcement, or notes the echo of ours.
func (s *Session) addAddr(f *subflow, o *mptcp.AddAddr) {
	if o.Echo {
		s.enter(func(*engine.Engine, int64) {
			for i := range s.adverts {
				if s.adverts[i].id == o.ID {
					s.adverts[i].echoed = true
				}
			}
		})
		return
	}
	if o.HMAC != mptcp.AddAddrHMAC(f.keys.remote, f.keys.local, o.ID, o.Addr, o.Port) {
		return // RFC 8684, Section 3.4.1: ignore it
	}
	e := *o
	e.Echo = true
	s.queueControl(f, e.Append(nil))
	if s.advertised != nil && o.Port != 0 {
		go s.advertised(netip.AddrPortFrom(o.Addr, o.Port))
	}
}

// removeAddr: the peer lost an address. Its subflows are asked whether they
// still live (RFC 8684, Section 3.4.2), not killed blindly.
func (s *Session) removeAddr(o *mptcp.RemoveAddr) {
	s.enter(func(e *engine.Engine, now int64) {
		for _, id := range o.IDs[:o.N] {
			e.Ask(id, now)
		}
	})
}

// checksumFailed resets the subflow with MP_FAIL (RFC 8684, Section 3.7). Inside
// TLS no middlebox can have changed the bytes, so there is no fallback to an
// infinite mapping: the other subflows, or a new one, carry the data again.
func (s *Session) checksumFailed(f *subflow, dsn uint64) error {
	s.queueControl(f, (&mptcp.Fail{DSN: dsn}).Append(nil))
	s.pump()
	return protocolErrorf("DSS checksum at DSN %d", dsn)
}
