package mux

import (
	"cmp"
	"net/netip"
	"slices"
)

// FlowSnapshot is one flow in the sending direction, with the reason for where
// it goes.
type FlowSnapshot struct {
	From     netip.AddrPort `json:"from"`
	To       netip.AddrPort `json:"to"`
	Proto    uint8          `json:"proto"`
	User     string         `json:"user,omitempty"`
	Class    string         `json:"class"`
	Why      string         `json:"why"`
	On       []string       `json:"on"`    // paths that it lately used,
	Subflows []int          `json:"slots"` // and their subflows
	Packets  uint64         `json:"packets"`
	Bytes    uint64         `json:"bytes"`
	Copies   uint64         `json:"copies"`
	Dropped  uint64         `json:"dropped"`
	Queued   int            `json:"queued_bytes"`
}

const (
	// snapshotFlows is how many flows a snapshot lists: the largest.
	snapshotFlows = 64
	// usedTime is how long a subflow counts as lately used, and once more.
	usedTime = 5e9
)

// A trail is the subflows that a flow lately used.
type trail struct {
	now, before uint64 // bit sets of slots
	since       int64  // when now began
}

// turn begins anew when it is time.
func (t *trail) turn(now int64) {
	if d := now - t.since; d > usedTime {
		if t.before = t.now; d > 2*usedTime {
			t.before = 0
		}
		t.now, t.since = 0, now
	}
}

// largest returns the n flows that sent most, the largest first. It looks at all
// of them with the session's lock held: no more than a comparison each.
func (s *Session) largest(n int) []*flow {
	top := make([]*flow, 0, n)
	least := 0 // its place in top
	for _, f := range s.flows {
		if len(top) < n {
			top = append(top, f)
			if len(top) < n {
				continue
			}
		} else {
			if f.octets <= top[least].octets {
				continue
			}
			top[least] = f
		}
		for i := range top {
			if top[i].octets < top[least].octets {
				least = i
			}
		}
	}
	slices.SortFunc(top, func(a, b *flow) int { return cmp.Compare(b.octets, a.octets) })
	return top
}

func (s *Session) flowSnapshot(f *flow, now int64) FlowSnapshot {
	r := FlowSnapshot{
		From:  netip.AddrPortFrom(netip.AddrFrom16(f.key.Src).Unmap(), f.key.SrcPort),
		To:    netip.AddrPortFrom(netip.AddrFrom16(f.key.Dst).Unmap(), f.key.DstPort),
		Proto: f.key.Proto, User: f.user, Class: f.class.String(), Why: f.why, On: []string{}, Subflows: []int{},
		Packets: f.packets, Bytes: f.octets, Copies: f.copies, Dropped: f.dropped, Queued: f.bytes,
	}
	f.used.turn(now)
	for _, sf := range s.subs {
		if (f.used.now|f.used.before)&(1<<sf.slot) == 0 {
			continue
		}
		r.Subflows = append(r.Subflows, sf.slot)
		if !slices.Contains(r.On, sf.path.cfg.Name) {
			r.On = append(r.On, sf.path.cfg.Name)
		}
	}
	return r
}
