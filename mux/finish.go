package mux

import (
	"time"

	"github.com/mpsocks/mpsocks/mux/engine"
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

// An ending is how a session ends, and whether it has.
type ending struct {
	s     *Session
	done  chan struct{} // closed when the end begins,
	ended chan struct{} // and when the handler knows of it

	// Within enter.
	begun bool
	err   error
}

// finish is Session.Finish.
func (x *ending) finish(err error) {
	s := x.s
	deadline := time.Now().Add(finishLimit)
	s.enter(func(e *engine.Engine, _ int64) { e.Finish() })
	s.streams.CloseAll(err)
	if x.until(deadline, (*engine.Engine).Clear) {
		fin, sent := uint64(0), time.Time{}
		acked := func(e *engine.Engine) bool {
			if now := time.Now(); now.Sub(sent) >= finAgain {
				fin, sent = x.ownFIN(e), now
				return false
			}
			return int64(s.lastAck.Load()-fin) > 0
		}
		if x.until(deadline, acked) {
			x.shut(err, false)
			<-x.ended
			s.serving.Wait()
			return
		}
	}
	x.close(err)
}

// until waits for what is so under the session's lock; false at the deadline, or when the
// session has ended or has no subflow that could bring it about.
func (x *ending) until(deadline time.Time, ok func(*engine.Engine) bool) bool {
	s := x.s
	tick := time.NewTicker(finPoll)
	defer tick.Stop()
	for {
		var over, done bool
		s.enter(func(e *engine.Engine, _ int64) {
			over, done = x.begun || len(e.Subflows()) == 0 || time.Now().After(deadline), ok(e)
		})
		if done || over {
			return done
		}
		s.pump()
		select {
		case <-tick.C:
		case <-x.done:
			return false
		}
	}
}

// ownFIN puts our DATA_FIN on every subflow and returns its DSN. It is called within
// enter, and the caller pumps.
func (x *ending) ownFIN(e *engine.Engine) uint64 {
	s := x.s
	d := mptcp.DSS{
		HasAck: true, Ack8: true, Ack: s.space.next.Load(),
		HasMap: true, DSN8: true, DSN: e.FIN(), DataFIN: true, Length: 1, // SSN 0: no bytes of the subflow
	}
	if s.key.checksum {
		d.HasChecksum, d.Checksum = true, mptcp.Checksum(d.DSN, 0, 1, nil)
	}
	for _, f := range e.Subflows() {
		f.Control(d.Append(nil))
	}
	return d.DSN
}

// dataFIN obeys a DATA_FIN of the peer with that DSN: it is acknowledged and answered with
// ours. One behind bytes that have not come is left for its repetition.
func (x *ending) dataFIN(f *subflow, at uint64) {
	s := x.s
	if !s.space.finish(f.keys.epoch, at) {
		return
	}
	first := false
	s.enter(func(e *engine.Engine, _ int64) {
		if f.keys.epoch != e.Epoch() {
			return
		}
		first = !e.Finishing()
		ack := mptcp.DSS{HasAck: true, Ack8: true, Ack: s.space.next.Load()}
		f.core.Control(ack.Append(nil))
		if first { // what a client has queued goes by the next session
			x.ownFIN(e)
		}
	})
	s.pump()
	if first {
		go x.peerFinished(f) // never waits for this reader
	}
}

// peerFinished ends the session after the peer has: when our DATA_FIN is acknowledged, or
// the peer has closed, or after finAgain. A client begins a new one.
func (x *ending) peerFinished(f *subflow) {
	s := x.s
	x.until(time.Now().Add(finAgain), func(e *engine.Engine) bool {
		return e.Epoch() != f.keys.epoch || f.core.State() == engine.Ended || int64(s.lastAck.Load()-e.FIN()) > 0
	})
	x.peerClosed(f.keys.epoch, false)
}

// close is Session.Close.
func (x *ending) close(err error) {
	s := x.s
	x.shut(err, true)
	<-x.ended
	s.serving.Wait()
}

// shut ends the session, in its client's turns, of which the caller must have none; tell says whether the
// peer is to hear of it.
func (x *ending) shut(err error, tell bool) {
	s := x.s
	if err == nil {
		err = ErrClosed
	}
	var subs []*subflow
	over := false
	s.enter(func(e *engine.Engine, _ int64) {
		if over = x.begun; over {
			return
		}
		x.begun, x.err = true, err
		e.Close()
		for _, f := range e.Subflows() {
			subs = append(subs, connOf(f))
			if tell {
				f.Control((&mptcp.FastClose{Receiver: s.key.remote}).Append(nil))
			}
		}
	})
	if over {
		return
	}
	if tell {
		s.pump()
	}
	turn := s.hands.Take()
	close(x.done)
	s.monitor.hurry()
	for _, f := range subs {
		if tell {
			// What is in the kernel still goes out; a dead path must not hold
			// the exit.
			time.AfterFunc(closeLinger, f.close)
			f.carrier.CloseWrite()
		} else {
			f.close()
		}
	}
	turn.Give() // streams make pauses
	s.streams.CloseAll(err)
	turn = s.hands.Take()
	if s.memory != nil {
		s.memory.drop(s)
	}
	s.handler.Closed(err)
	turn.Give()
	close(x.ended)
}

// closeLinger is how long a closed subflow may take to hand over its last
// bytes.
const closeLinger = 300 * time.Millisecond

// peerClosed: the peer ended the session. A client begins a new one.
func (x *ending) peerClosed(epoch uint64, tell bool) {
	s := x.s
	if s.refused != nil {
		s.refused(epoch)
		return
	}
	x.shut(ErrPeerClosed, tell)
}

// farewell tells the peer by MP_FASTCLOSE that the session ends (RFC 8684, Section 3.5):
// it is about to get other keys.
func (x *ending) farewell(epoch uint64) {
	s := x.s
	s.enter(func(e *engine.Engine, _ int64) {
		if e.Epoch() != epoch {
			return
		}
		for _, f := range e.Subflows() {
			f.Control((&mptcp.FastClose{Receiver: s.key.remote}).Append(nil))
		}
	})
	s.pump()
}
