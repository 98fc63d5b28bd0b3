package mux

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/mpsocks/mpsocks/mux/fq"
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
)

// largest returns the n flows that sent most, the largest first. It looks at all
// of them with the session's lock held: no more than a comparison each.
func (s *Session) largest(n int) []*fq.Flow {
	top := make([]*fq.Flow, 0, n)
	least := 0 // its place in top
	for _, f := range s.flows {
		if len(top) < n {
			top = append(top, f)
			if len(top) < n {
				continue
			}
		} else {
			if f.Octets <= top[least].Octets {
				continue
			}
			top[least] = f
		}
		for i := range top {
			if top[i].Octets < top[least].Octets {
				least = i
			}
		}
	}
	slices.SortFunc(top, func(a, b *fq.Flow) int { return cmp.Compare(b.Octets, a.Octets) })
	return top
}

func (s *Session) flowSnapshot(f *fq.Flow, now int64) FlowSnapshot {
	r := FlowSnapshot{
		From:  netip.AddrPortFrom(netip.AddrFrom16(f.Key.Src).Unmap(), f.Key.SrcPort),
		To:    netip.AddrPortFrom(netip.AddrFrom16(f.Key.Dst).Unmap(), f.Key.DstPort),
		Proto: f.Key.Proto, User: f.User, Class: f.Class.String(), Why: f.Why, On: []string{}, Subflows: []int{},
		Packets: f.Packets, Bytes: f.Octets, Copies: f.Copies, Dropped: f.Dropped, Queued: f.Bytes,
	}
	f.Used.Turn(now)
	for _, sf := range s.subs {
		if (f.Used.Now|f.Used.Before)&(1<<sf.slot) == 0 {
			continue
		}
		r.Subflows = append(r.Subflows, sf.slot)
		if !slices.Contains(r.On, sf.path.cfg.Name) {
			r.On = append(r.On, sf.path.cfg.Name)
		}
	}
	return r
}
