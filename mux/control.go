package mux

import (
	"encoding/binary"
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/sched"
)

// Everything but data: the options that a reader obeys and that a side sends
// (RFC 8684, Sections 3.4 to 3.7), and our probes.

// command obeys one option that is not a DSS. An error ends the subflow.
func (f *subflow) command(o *mptcp.Option) error {
	s := f.s
	switch o.Subtype {
	case mptcp.MPExperimental:
		return f.probe(&o.Experimental)
	case mptcp.MPPrio:
		s.mu.Lock()
		f.backup = o.Prio.Backup
		s.mu.Unlock()
	case mptcp.MPAddAddr:
		return s.addAddr(f, &o.AddAddr)
	case mptcp.MPRemoveAddr:
		s.removeAddr(&o.RemoveAddr)
	case mptcp.MPFastClose:
		if o.FastClose.Receiver != s.localKey {
			return protocolErrorf("MP_FASTCLOSE with a wrong key")
		}
		go s.peerClosed(f.epoch, false) // never waits for this reader
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

// probe answers a ping and measures by a pong.
func (f *subflow) probe(x *mptcp.Experimental) error {
	switch x.Type {
	case probeDelay, probeDelayR:
		f.delayProbe(x.Type, x.Payload())
		return nil
	case probeVersion:
		f.s.peerVersion(x.Payload())
		return nil
	}
	if len(x.Payload()) != 8 {
		return nil // not ours to understand
	}
	stamp := binary.BigEndian.Uint64(x.Payload())
	switch x.Type {
	case probePing:
		f.s.queueControl(f, appendProbe(nil, probePong, stamp))
		f.s.pump()
	case probeLeave:
		f.leaving(x.Payload())
	case probePong:
		f.s.mu.Lock()
		defer f.s.mu.Unlock()
		now := f.s.now()
		f.proof = now
		if f.probeSent != 0 && uint64(f.probeSent) == stamp {
			f.probeSent, f.mute = 0, false
			f.sample(now - int64(stamp))
			if !f.tx.kernel { // what was written before the question has arrived
				f.acknowledge(now, f.probeEnd)
			}
		}
	}
	return nil
}

// sample feeds a round trip that the probe measured into the estimates, where
// the kernel does not tell (RFC 6298, Section 2).
func (f *subflow) sample(rtt int64) {
	t := &f.tx
	if t.kernel || rtt <= 0 {
		return
	}
	t.cwnd = max(t.cwnd, sched.StartBytes, 2*t.outstanding)
	if !t.valid {
		t.srtt, t.rttvar, t.minRTT, t.valid = rtt, rtt/2, rtt, true
		return
	}
	d := t.srtt - rtt
	if d < 0 {
		d = -d
	}
	t.rttvar += (d - t.rttvar) / 4
	t.srtt += (rtt - t.srtt) / 8
	t.minRTT = min(t.minRTT, rtt)
}

// setBackup tells the peer to use the subflow, or not (RFC 8684, Section
// 3.3.8). The caller holds the session's lock.
func (f *subflow) setBackup(backup bool) {
	f.control = (&mptcp.Prio{Backup: backup}).Append(f.control)
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
	s.mu.Lock()
	if s.client && (f.path.cfg.Backup || f.path.cfg.Metered) {
		f.control = (&mptcp.Prio{Backup: true}).Append(f.control)
	}
	if len(s.subs) == 1 { // once a session, or when it resumes
		f.control = appendVersion(f.control)
	}
	s.mu.Unlock()
	s.advertise(f, s.now())
}

// advertise sends the ADD_ADDRs that are due on f (RFC 8684, Section 3.4.1).
func (s *Session) advertise(f *subflow, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.adverts {
		a := &s.adverts[i]
		if a.echoed || a.tries >= maxAdverts || (a.tries > 0 && now-a.at < 1e9) {
			continue
		}
		a.tries++
		a.at = now
		o := mptcp.AddAddr{ID: a.id, Addr: a.addr.Addr(), Port: a.addr.Port()}
		o.HMAC = mptcp.AddAddrHMAC(s.localKey, s.remoteKey, o.ID, o.Addr, o.Port)
		f.control = o.Append(f.control)
	}
}

// addAddr checks and echoes an announcement, or notes the echo of ours.
func (s *Session) addAddr(f *subflow, o *mptcp.AddAddr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.Echo {
		for i := range s.adverts {
			if s.adverts[i].id == o.ID {
				s.adverts[i].echoed = true
			}
		}
		return nil
	}
	if o.HMAC != mptcp.AddAddrHMAC(s.remoteKey, s.localKey, o.ID, o.Addr, o.Port) {
		return nil // RFC 8684, Section 3.4.1: ignore it
	}
	e := *o
	e.Echo = true
	if len(f.control) < 4096 {
		f.control = e.Append(f.control)
	}
	if s.advertised != nil && o.Port != 0 {
		go s.advertised(netip.AddrPortFrom(o.Addr, o.Port))
	}
	return nil
}

// removeAddr: the peer lost an address. Its subflows are asked whether they
// still live (RFC 8684, Section 3.4.2), not killed blindly.
func (s *Session) removeAddr(o *mptcp.RemoveAddr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range o.IDs[:o.N] {
		for _, f := range s.subs {
			if f.path.addrID == id {
				f.ping(s.now())
			}
		}
	}
}

// checksumFailed resets the subflow with MP_FAIL (RFC 8684, Section 3.7). Inside
// TLS no middlebox can have changed the bytes, so there is no fallback to an
// infinite mapping: the other subflows, or a new one, carry the data again.
func (s *Session) checksumFailed(f *subflow, dsn uint64) error {
	s.queueControl(f, (&mptcp.Fail{DSN: dsn}).Append(nil))
	s.pump()
	return protocolErrorf("DSS checksum at DSN %d", dsn)
}

// closeWrite sends FIN behind the last bytes.
func closeWrite(f *subflow) {
	if c, ok := f.carrier.Conn.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	}
}
