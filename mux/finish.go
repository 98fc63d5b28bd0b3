package mux

import (
	"slices"
	"time"

	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// The end of a session in order (RFC 8684, Section 3.3.3): all data is acknowledged, then
// DATA_FIN takes one place in the data sequence and is acknowledged like data; the other
// side answers with its own. MP_FASTCLOSE is for ends that cannot wait.

const (
	// finishLimit is how long an end in order may take before it becomes an abrupt one: a
	// round trip or two of any path that is alive.
	finishLimit = 500 * time.Millisecond
	// finAgain is how often DATA_FIN is repeated, on every subflow, until its Data ACK.
	finAgain = 150 * time.Millisecond
	finPoll  = 2 * time.Millisecond
)

// Finish ends the session in order and returns when its goroutines have ended. What has
// no DSN yet is dropped, streams end. Where the peer does not acknowledge in time it is
// told by MP_FASTCLOSE, as Close does.
func (s *Session) Finish(err error) {
	deadline := time.Now().Add(finishLimit)
	s.mu.Lock()
	s.finishing = true
	for _, f := range s.flows {
		s.queue.Clear(f, fq.DropRenewed)
	}
	s.mu.Unlock()
	s.streams.CloseAll(err)
	all := func() bool { return s.inflight.Head == s.inflight.Tail }
	if s.until(deadline, all) {
		fin, sent := uint64(0), time.Time{}
		acked := func() bool {
			if now := time.Now(); now.Sub(sent) >= finAgain {
				fin, sent = s.ownFIN(), now
				return false
			}
			return int64(s.lastAck.Load()-fin) > 0
		}
		if s.until(deadline, acked) {
			s.shut(err, false)
			<-s.ended
			s.serving.Wait()
			return
		}
	}
	s.Close(err)
}

// until waits for what is so under the session's lock; false at the deadline, or when the
// session has ended or has no subflow that could bring it about.
func (s *Session) until(deadline time.Time, ok func() bool) bool {
	tick := time.NewTicker(finPoll)
	defer tick.Stop()
	for {
		s.mu.Lock()
		over, done := s.closed || len(s.subs) == 0 || time.Now().After(deadline), ok()
		s.mu.Unlock()
		if done || over {
			return done
		}
		s.pump()
		select {
		case <-tick.C:
		case <-s.done:
			return false
		}
	}
}

// ownFIN puts our DATA_FIN on every subflow and returns its DSN. The caller holds the
// session's lock and pumps.
func (s *Session) ownFIN() uint64 {
	if s.fin == 0 {
		s.fin = s.inflight.Fin()
	}
	d := mptcp.DSS{
		HasAck: true, Ack8: true, Ack: s.space.next.Load(),
		HasMap: true, DSN8: true, DSN: s.fin, DataFIN: true, Length: 1, // SSN 0: no bytes of the subflow
	}
	if s.checksum {
		d.HasChecksum, d.Checksum = true, mptcp.Checksum(d.DSN, 0, 1, nil)
	}
	for _, f := range s.subs {
		if !f.closed && len(f.control) < 4096 {
			f.control = d.Append(f.control)
		}
	}
	return s.fin
}

// dataFIN obeys a DATA_FIN of the peer that comes without data: it is acknowledged and
// answered with ours. One behind bytes that have not come is left for its repetition.
func (s *Session) dataFIN(f *subflow, d *mptcp.DSS) error {
	at := d.DSN
	if !d.DSN8 {
		at = mptcp.Expand(s.space.next.Load(), uint32(at))
	}
	if !s.space.finish(at) {
		return nil
	}
	s.mu.Lock()
	first := s.fin == 0
	ack := mptcp.DSS{HasAck: true, Ack8: true, Ack: s.space.next.Load()}
	f.control = ack.Append(f.control)
	if first { // what a client has queued goes by the next session
		s.ownFIN()
	}
	s.mu.Unlock()
	s.pump()
	if first {
		go s.peerFinished(f) // never waits for this reader
	}
	return nil
}

// peerFinished ends the session after the peer has: when our DATA_FIN is acknowledged, or
// the peer has closed, or after finAgain. A client begins a new one.
func (s *Session) peerFinished(f *subflow) {
	s.until(time.Now().Add(finAgain), func() bool {
		return s.epoch != f.epoch || f.closed || int64(s.lastAck.Load()-s.fin) > 0
	})
	s.peerClosed(f.epoch, false)
}

// Close ends the session with MP_FASTCLOSE on every subflow (RFC 8684,
// Section 3.5) and returns when its goroutines have ended, also where somebody else
// ends it at the same time. A Handler's Closed must not call it.
func (s *Session) Close(err error) {
	s.shut(err, true)
	<-s.ended
	s.serving.Wait()
}

// shut ends the session; tell says whether the peer is to hear of it.
func (s *Session) shut(err error, tell bool) {
	if err == nil {
		err = ErrClosed
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed, s.closeErr = true, err
	subs := slices.Clone(s.subs)
	for _, f := range s.flows {
		s.queue.Clear(f, fq.DropRenewed)
	}
	for _, f := range subs {
		if tell {
			f.control = (&mptcp.FastClose{Receiver: s.remoteKey}).Append(f.control)
		}
	}
	s.mu.Unlock()
	if tell {
		s.pump()
	}
	close(s.done)
	for _, f := range subs {
		if tell {
			// What is in the kernel still goes out; a dead path must not hold
			// the exit.
			time.AfterFunc(closeLinger, f.close)
			closeWrite(f)
		} else {
			f.close()
		}
	}
	s.streams.CloseAll(err)
	s.handler.Closed(err)
	close(s.ended)
}

// closeLinger is how long a closed subflow may take to hand over its last
// bytes.
const closeLinger = 300 * time.Millisecond

// peerClosed: the peer ended the session. A client begins a new one.
func (s *Session) peerClosed(epoch uint64, tell bool) {
	if s.refused != nil {
		s.refused(epoch)
		return
	}
	s.shut(ErrPeerClosed, tell)
}
