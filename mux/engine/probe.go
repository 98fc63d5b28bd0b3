package engine

import (
	"encoding/binary"

	"github.com/mpsocks/mpsocks/mux/gauge"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// bulkRecent is how long, in ns, a path counts as carrying bulk after it last did.
const bulkRecent = 2e9

// The probes: MP_EXPERIMENTAL with the sender's clock (there is no standard option for
// a keep-alive).
const (
	probePing   = 1 // stamp of the sender; answered with
	probePong   = 2 // that same stamp
	probeDelay  = 3 // stamp of the sender; answered with
	probeDelayR = 4 // that stamp and the receiver's clock
)

// askShare is the part of what a thin path carries that questions about delay may take, and
// askCost what one costs with its answer's acknowledgement, TLS and TCP included, in bytes.
const (
	askShare = 0.02
	askCost  = 200
)

// askDelay sends a probe on the path's thinnest subflow, when one is due.
func (p *Path) askDelay(e *Engine, now int64) {
	every := int64(gauge.DelayRest)
	m := &p.delay
	switch {
	case !p.woken && m.Count >= gauge.DelayLeast:
		return // its keep-alives tell now and then
	case m.Count < gauge.DelayLeast || p.carriesBulk(now):
		every = gauge.Every(p.rtt)
	case p.cfg.Metered || now-e.activeAt > gauge.DelayOld:
	case m.Quick > 0:
		every = gauge.DelayEvery
	case e.octets-m.Octets > gauge.DelayOctets: // which might choose this one
		every = gauge.DelayBeside
	default:
		every = gauge.DelayActive
	}
	if p.passage.holds(now) {
		every = max(every, int64(askCost/(askShare*p.passage.rate)))
	}
	if now-m.Asked < every {
		return
	}
	var best *Subflow
	for _, f := range p.subs {
		if f.state != Moving || f.blocked || len(f.control) > 0 {
			continue
		}
		if best == nil || (best.bulk && !f.bulk) {
			best = f
		}
	}
	blunt := p.carriesBulk(now) && (best == nil || best.bulk)
	if blunt {
		if best = nil; now-m.Asked > gauge.DelayBeside {
			best = p.warm()
		}
	}
	if best == nil {
		return
	}
	m.Ask(now, e.octets)
	if blunt {
		m.Blunt()
	}
	best.control = AppendProbe(best.control, probeDelay, uint64(now))
}

// AppendProbe appends an MP_EXPERIMENTAL of that type with some stamps.
func AppendProbe(b []byte, typ uint8, stamps ...uint64) []byte {
	var x mptcp.Experimental
	var a [16]byte
	for i, stamp := range stamps {
		binary.BigEndian.PutUint64(a[8*i:], stamp)
	}
	x.Type = typ
	x.SetPayload(a[:8*len(stamps)])
	return x.Append(b)
}
