package mux

import (
	"time"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// Where a flow stands in its band.
const (
	whereNone = iota
	whereFresh
	whereOld
)

const (
	// maxFlows bounds the table; beyond it packets share the flow of the
	// overflow key. 65,536 flows are about 20 MiB.
	maxFlows = 65536
	// atNone is a flow that is on no subflow yet.
	atNone = 255
	// A flow that sent nothing for this long is forgotten.
	flowIdle = 60e9
)

// A flow is the packets of one inner 5-tuple in the sending direction. It is
// guarded by the session's lock.
type flow struct {
	key    packet.Key
	user   string
	tos    uint8   // of its first packet, for rules
	stream *Stream // set: packets are pulled from it

	class  Class
	band   int
	forced bool // a rule or the mode chose the class
	large  bool
	why    string
	beh    behaviour

	head, tail *buf.Buffer // waiting packets
	bytes      int
	codel      codel
	deficit    int
	where      uint8
	prev, next *flow // on the band's list

	id      uint32 // Identification of the next packet
	active  int64  // last packet, ns
	packets uint64
	octets  uint64
	copies  uint64
	dropped uint64
	home    uint32 // see pickSteady
	at      uint8  // slot of the subflow that it is on, see settled; atNone = none
	used    trail
}

// flowFor returns the flow of packet p, new if need be.
func (s *Session) flowFor(src *Source, p []byte, now int64) *flow {
	var k packet.Key
	if !packet.KeyOf(p, &k) {
		return nil
	}
	if src != nil && src.last != nil {
		last := &src.last.key
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
		f = s.newFlow(src, k, packet.TOS(p))
	}
	if src != nil {
		src.last = f
	}
	return f
}

func (s *Session) newFlow(src *Source, k packet.Key, tos uint8) *flow {
	f := s.addFlow(k)
	if src != nil {
		f.user = src.User
	}
	f.tos = tos
	if c, ok := s.rule(f); ok {
		f.class, f.forced, f.why = c, true, "rule"
		f.band = bandOf(c)
	}
	return f
}

// rule returns the class that a rule gives to a flow of datagrams.
func (s *Session) rule(f *flow) (Class, bool) {
	if f.stream != nil {
		return 0, false
	}
	remote, port := f.key.Dst, f.key.DstPort
	if !s.client {
		remote, port = f.key.Src, f.key.SrcPort
	}
	return s.ruled(f.user, remote, port, f.tos)
}

// addFlow makes a flow that no rule is asked about.
func (s *Session) addFlow(k packet.Key) *flow {
	f := &flow{key: k, class: ClassLatency, why: "new", home: s.turn, band: bandOf(ClassLatency), at: atNone}
	if s.mode == ModeLatency {
		f.forced, f.why = true, "mode latency"
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
		f.forced, f.class, f.why = mode == ModeLatency, ClassLatency, "new"
		if f.forced {
			f.why = "mode latency"
		}
		if c, ok := s.rule(f); ok {
			f.class, f.forced, f.why = c, true, "rule"
		} else if !f.forced && f.packets > 0 {
			f.reclassify(s.mode)
		}
		s.queue.setBand(f, f.place())
	}
}

// streamFlow returns the flow of a stream. Rules are for UDP: the addresses here are
// those of the two hosts in the tunnel, whatever a CONNECT is for.
func (s *Session) streamFlow(st *Stream) *flow {
	f := s.flows[st.key]
	if f == nil || f.stream != st {
		if f != nil {
			s.queue.clear(f, dropRenewed)
		}
		f = s.addFlow(st.key)
		f.stream = st
	}
	return f
}

// classify counts one packet and moves the flow to the class it behaves like.
func (s *Session) classify(f *flow, n int, payload []byte, now int64) {
	f.active = now
	large := f.beh.note(now, n, f.large)
	if payload != nil && f.packets < 16 {
		f.beh.see(payload)
	}
	if f.forced || (large == f.large && f.packets != 0) {
		return
	}
	f.large = large
	f.reclassify(s.mode)
	s.queue.setBand(f, f.place())
}

// reclassify gives the flow the class of what it does.
func (f *flow) reclassify(mode Mode) {
	switch large := f.large; {
	case !large && mode != ModeAggregate:
		f.class, f.why = ClassLatency, "small"
	case !large && f.stream == nil && !f.beh.quic:
		f.class, f.why = ClassBulk, "mode aggregate"
	case f.stream != nil:
		f.class, f.why = ClassBulk, "large stream"
	case f.beh.quic:
		f.class, f.why = ClassOrdered, "large, looks like QUIC"
	default:
		f.class, f.why = ClassBulk, "large"
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
		if f.where != whereNone || f.head != nil {
			continue
		}
		if now-f.active > flowIdle || (f.stream != nil && f.stream.ended()) {
			f.key = packet.Key{Proto: 255} // a Source that still points here must not match
			delete(s.flows, k)
		}
	}
}

// ended reports whether the stream has nothing to send any more, ever.
func (st *Stream) ended() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.removed && !st.rstDue
}
