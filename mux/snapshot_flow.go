package mux

import (
	"net/netip"
	"slices"

	"github.com/mpsocks/mpsocks/mux/engine"
)

// FlowSnapshot is one flow in the sending direction, with the reason for where
// it goes.
type FlowSnapshot struct {
	From     netip.AddrPort
	To       netip.AddrPort
	Proto    uint8
	User     string
	Class    string
	Why      string
	Only     []string // the paths that it may use; none = all
	On       []string // paths that it lately used,
	Subflows []int    // and their subflows
	Came     []string // paths that what a stream received lately came by
	Packets  uint64
	Bytes    uint64
	Received uint64 // of a stream; of datagrams the session does not know
	Copies   uint64
	Dropped  uint64
	Queued   int
}

// snapshotFlows is how many flows a snapshot lists: the largest.
const snapshotFlows = 64

func flowSnapshot(f *engine.FlowStatus) FlowSnapshot {
	r := FlowSnapshot{
		From:  netip.AddrPortFrom(netip.AddrFrom16(f.Key.Src).Unmap(), f.Key.SrcPort),
		To:    netip.AddrPortFrom(netip.AddrFrom16(f.Key.Dst).Unmap(), f.Key.DstPort),
		Proto: f.Key.Proto, User: f.User, Class: f.Class.String(), Why: f.Why, Only: f.Only, On: []string{}, Came: []string{}, Subflows: []int{},
		Packets: f.Packets, Bytes: f.Octets, Copies: f.Copies, Dropped: f.Dropped, Queued: f.Queued,
	}
	for _, on := range f.On {
		r.Subflows = append(r.Subflows, on.Slot)
		if !slices.Contains(r.On, on.Path) {
			r.On = append(r.On, on.Path)
		}
	}
	return r
}

// came fills in the paths of the subflows that a stream's bytes came by, a bit each.
func (f *FlowSnapshot) came(ways uint64, subflows []SubflowSnapshot) {
	for i := range subflows {
		if sub := &subflows[i]; ways>>sub.Slot&1 == 1 && !slices.Contains(f.Came, sub.Path) {
			f.Came = append(f.Came, sub.Path)
		}
	}
}
