package engine

import (
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A Status is what people may see of an engine. Rates are bytes a nanosecond, times ns.
type Status struct {
	Up         bool
	Mode       Mode
	Renewals   uint64
	FlowCount  int
	Queued     int
	InFlight   int
	Sent       uint64
	Copied     uint64
	Reinjected uint64
	Drops      map[string]uint64
	Paths      []PathStatus
	Subflows   []SubflowStatus
	Flows      []FlowStatus // the largest
}

// A PathStatus is one path.
type PathStatus struct {
	PathConfig
	Path           *Path
	State          PathState
	Rate, Pace     float64
	Lossy          bool
	KeepAlive      int64
	Sent, Received uint64 // Received is of subflows that have ended
}

// A SubflowStatus is one subflow.
type SubflowStatus struct {
	Sub          *Subflow // only its Owner may be read without the lock
	Path         string
	Slot         int
	State        string
	Bulk, Backup bool
	Congestion   string
	SRTT, RTTVar int64
	Rate         float64
	CWND         int
	Outstanding  int
	Retrans      uint64
	Segs         uint64
	Sent         uint64
	Age          int64
}

// A FlowStatus is one flow, with the subflows that it lately used.
type FlowStatus struct {
	Key     packet.Key
	User    string
	Class   fq.Class
	Why     string
	Only    []string // the paths that it may use; nil = all
	Packets uint64
	Octets  uint64
	Copies  uint64
	Dropped uint64
	Queued  int
	On      []FlowOn
}

// A FlowOn is a subflow that a flow lately used.
type FlowOn struct {
	Path string
	Slot int
}

// Tally returns what an engine has counted since its beginning: bytes of copies, packets
// that went again, sessions that were begun anew, and dropped packets by fq.DropNames.
func Tally(e *Engine) (copied, reinjected, renewals uint64, drops [len(fq.DropNames)]uint64) {
	return e.copied, e.held.again, e.renewals, e.table.queue.Drops
}

// Describe says how an engine does, with that many flows at most.
func Describe(e *Engine, now int64, flows int) Status {
	q := &e.table.queue
	s := Status{
		Up: len(e.subs) > 0, Mode: e.table.mode, Renewals: e.renewals, FlowCount: len(e.table.flows),
		Queued: q.Bytes, InFlight: e.held.out.Bytes, Sent: e.octets, Copied: e.copied, Reinjected: e.held.again,
		Drops: make(map[string]uint64),
	}
	for i, n := range fq.DropNames {
		s.Drops[n] = q.Drops[i]
	}
	for _, p := range e.paths {
		s.Paths = append(s.Paths, PathStatus{
			PathConfig: p.cfg, Path: p, State: p.state, Rate: p.rate, Pace: p.paced, Lossy: p.judge.Lossy, KeepAlive: p.KeepAlive(),
			Sent: p.sent, Received: p.received,
		})
	}
	for _, f := range e.subs {
		s.Subflows = append(s.Subflows, SubflowStatus{
			Sub: f, Path: f.path.cfg.Name, Slot: f.slot, State: describe(f, now), Bulk: f.bulk, Backup: f.backup, Congestion: f.ccAsked,
			SRTT: f.tx.srtt, RTTVar: f.tx.rttvar, Rate: f.tx.rate, CWND: f.tx.cwnd, Outstanding: f.tx.outstanding,
			Retrans: f.tx.retrans, Segs: f.tx.segs, Sent: f.sent, Age: now - f.born,
		})
	}
	for _, f := range e.table.largest(flows) {
		f.Used.Turn(now)
		r := FlowStatus{
			Key: f.Key, User: f.User, Class: f.Class, Why: f.Why, Packets: f.Packets, Octets: f.Octets,
			Copies: f.Copies, Dropped: f.Dropped, Queued: f.Bytes,
		}
		if f.Wish.Limits() {
			r.Only = []string{}
			for _, p := range e.paths {
				if may(f.Wish, p) {
					r.Only = append(r.Only, p.cfg.Name)
				}
			}
		}
		for _, sf := range e.subs {
			if (f.Used.Now|f.Used.Before)&(1<<sf.slot) != 0 {
				r.On = append(r.On, FlowOn{sf.path.cfg.Name, sf.slot})
			}
		}
		s.Flows = append(s.Flows, r)
	}
	return s
}

// describe is the state in a word: up, resting, suspect, stale or blocked.
func describe(f *Subflow, now int64) string {
	switch {
	case f.state.Stale():
		return "stale"
	case f.state == Resting:
		return "resting"
	case f.overdue(f.age(now)):
		return "suspect"
	case f.blocked:
		return "blocked"
	}
	return "up"
}
