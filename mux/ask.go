package mux

import (
	"encoding/binary"

	"github.com/mpsocks/mpsocks/mux/gauge"
)

// bulkRecent is how long, in ns, a path counts as carrying bulk after it last did.
const bulkRecent = 2e9

const (
	probeDelay  = 3 // stamp of the sender; answered with
	probeDelayR = 4 // that stamp and the receiver's clock
)

func (p *path) carriesBulk(now int64) bool { return p.bulkAt != 0 && now-p.bulkAt < bulkRecent }

// wakeDelay has every path asked when a session begins to send after a rest.
func (s *Session) wakeDelay(now int64) {
	if s.octets == s.octetsSeen {
		return
	}
	rested := now-s.activeAt > gauge.DelayOld
	s.octetsSeen, s.activeAt = s.octets, now
	for _, p := range s.paths {
		if rested && now-p.delay.Heard > gauge.DelayOld {
			p.delay.Quick = gauge.DelayLeast
		}
	}
}

// askDelay sends a probe on the path's thinnest subflow, when one is due. The
// caller holds the session's lock.
func (s *Session) askDelay(p *path, now int64) {
	every := int64(gauge.DelayRest)
	m := &p.delay
	switch {
	case m.Count < gauge.DelayLeast || p.carriesBulk(now):
		every = gauge.DelayEvery
	case p.cfg.Metered || now-s.activeAt > gauge.DelayOld:
	case m.Quick > 0:
		every = gauge.DelayEvery
	case s.octets-m.Octets > gauge.DelayOctets: // which might choose this one
		every = gauge.DelayBeside
	default:
		every = gauge.DelayActive
	}
	if now-m.Asked < every {
		return
	}
	var best *subflow
	for _, f := range s.subs {
		if f.path != p || f.closed || f.stale || f.blocked || len(f.control) > 0 {
			continue
		}
		if best == nil || (best.bulk && !f.bulk) {
			best = f
		}
	}
	if best != nil {
		m.Ask(now, s.octets)
		best.control = appendProbe(best.control, probeDelay, uint64(now))
	}
}

// delayProbe answers or takes one.
func (f *subflow) delayProbe(typ uint8, b []byte) {
	s := f.s
	now := s.now()
	switch {
	case typ == probeDelay && len(b) == 8:
		s.queueControl(f, appendProbe(nil, probeDelayR, binary.BigEndian.Uint64(b), uint64(now)))
		s.pump()
	case typ == probeDelayR && len(b) == 16:
		sent, got := int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
		s.mu.Lock()
		p := f.path
		p.delay.Answered(sent)
		p.delay.Add(now, got-sent, now-got)
		if !p.carriesBulk(now) {
			p.extra = p.delay.Beside(now)
		}
		s.mu.Unlock()
	}
}
