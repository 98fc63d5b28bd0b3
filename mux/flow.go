package mux

import (
	"time"

	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	// maxFlows bounds the table; beyond it packets share the flow of the
	// overflow key. 65,536 flows are about 20 MiB.
	maxFlows = 65536
	// A flow that sent nothing for this long is forgotten.
	flowIdle = 60e9
)

// flowFor returns the flow of packet p, new if need be.
func (s *Session) flowFor(src *Source, p []byte, now int64) *fq.Flow {
	var k packet.Key
	if !packet.KeyOf(p, &k) {
		return nil
	}
	if src != nil && src.last != nil {
		last := &src.last.Key
		if *last == k {
			return src.last
		}
		// The second fragment of a datagram has no ports; it follows the first
		// one in its queue.
		if k.SrcPort|k.DstPort == 0 && last.Src == k.Src && last.Dst == k.Dst && last.Proto == k.Proto {
			return src.last
		}
	}
	f := s.flows[k]
	if f == nil {
		if len(s.flows) >= maxFlows {
			k = packet.Key{}
			if f = s.flows[k]; f != nil {
				return f
			}
		}
		f = s.openFlow(src, k, packet.TOS(p))
	}
	if src != nil {
		src.last = f
	}
	return f
}

func (s *Session) openFlow(src *Source, k packet.Key, tos uint8) *fq.Flow {
	f := s.addFlow(k)
	if src != nil {
		f.User = src.User
	}
	f.TOS = tos
	if c, ok := s.rule(f); ok {
		f.Class, f.Forced, f.Why = c, true, "rule"
		f.Band = f.Place()
	}
	return f
}

// rule returns the class that a rule gives to a flow of datagrams.
func (s *Session) rule(f *fq.Flow) (fq.Class, bool) {
	if f.Stream != nil {
		return 0, false
	}
	remote, port := f.Key.Dst, f.Key.DstPort
	if !s.client {
		remote, port = f.Key.Src, f.Key.SrcPort
	}
	return s.ruled(f.User, remote, port, f.TOS)
}

// addFlow makes a flow that no rule is asked about.
func (s *Session) addFlow(k packet.Key) *fq.Flow {
	f := fq.NewFlow(k, s.turn)
	if s.mode.policy().pinned {
		f.Forced, f.Why = true, "mode latency"
	}
	s.flows[k] = f
	return f
}

// setPolicy puts another mode, other rules and another timeout in the place of
// those that the session began with. Flows that are there are judged anew.
func (s *Session) setPolicy(mode Mode, rules []Rule, timeout time.Duration) {
	if timeout == 0 {
		timeout = defaultSessionTimeout
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules.Store(&rules)
	s.mode, s.timeout = mode, timeout
	for _, f := range s.flows {
		f.Forced, f.Class, f.Why = mode.policy().pinned, fq.ClassLatency, "new"
		if f.Forced {
			f.Why = "mode latency"
		}
		if c, ok := s.rule(f); ok {
			f.Class, f.Forced, f.Why = c, true, "rule"
		} else if !f.Forced && f.Packets > 0 {
			reclassify(f, s.mode.policy())
		}
		s.queue.SetBand(f, f.Place())
	}
}

// streamFlow returns the flow of a stream. Rules are for UDP: the addresses here are
// those of the two hosts in the tunnel, whatever a CONNECT is for.
func (s *Session) streamFlow(st *Stream) *fq.Flow {
	f := s.flows[st.Key()]
	if f == nil || f.Stream != st {
		if f != nil {
			s.queue.Clear(f, fq.DropRenewed)
		}
		f = s.addFlow(st.Key())
		f.Stream = st
	}
	return f
}

// classify counts one packet and moves the flow to the class it behaves like.
func (s *Session) classify(f *fq.Flow, n int, payload []byte, now int64) {
	f.Active = now
	large := f.Behaviour.Note(now, n, f.Large)
	if payload != nil && f.Packets < 16 {
		f.Behaviour.See(payload)
	}
	if f.Forced || (large == f.Large && f.Packets != 0) {
		return
	}
	f.Large = large
	reclassify(f, s.mode.policy())
	s.queue.SetBand(f, f.Place())
}

// reclassify gives the flow the class of what it does.
func reclassify(f *fq.Flow, p *policy) {
	switch large := f.Large; {
	case !large && !p.aggregate:
		f.Class, f.Why = fq.ClassLatency, "small"
	case !large && f.Stream == nil && !f.Behaviour.QUIC:
		f.Class, f.Why = fq.ClassBulk, "mode aggregate"
	case f.Stream != nil:
		f.Class, f.Why = fq.ClassBulk, "large stream"
	case f.Behaviour.QUIC:
		f.Class, f.Why = fq.ClassOrdered, "large, looks like QUIC"
	default:
		f.Class, f.Why = fq.ClassBulk, "large"
	}
}

// sweepFlows forgets idle flows and those of ended streams. It looks at a few,
// beginning anywhere, so that it never holds the lock for long.
func (s *Session) sweepFlows(now int64) {
	n := 0
	for k, f := range s.flows {
		if n++; n > 1024 {
			return
		}
		if !f.Idle() {
			continue
		}
		if now-f.Active > flowIdle || (f.Stream != nil && f.Stream.Ended()) {
			f.Key = packet.Key{Proto: 255} // a Source that still points here must not match
			delete(s.flows, k)
		}
	}
}
