package mux

import (
	"fmt"
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/hands"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// Snapshot is the state of a session for status, metrics and tests. Times are
// milliseconds, rates bits a second, amounts bytes.
type Snapshot struct {
	ID         string // see Session.ID
	Peer       string
	Version    string // the peer's release
	Up         bool
	Mode       string
	Renewals   uint64
	Paths      []PathSnapshot
	Subflows   []SubflowSnapshot
	Flows      []FlowSnapshot
	FlowCount  int
	Streams    int
	Queued     int
	InFlight   int
	Sent       uint64
	Copied     uint64
	Reinjected uint64
	Received   uint64
	Packets    uint64
	Repeats    uint64
	Restored   uint64
	Expired    uint64
	Drops      map[string]uint64
}

// PathSnapshot is one path.
type PathSnapshot struct {
	Name     string
	Backup   bool
	Metered  bool
	Subflows int
	Rate     float64
	Pace     float64 // 0 = not paced
	Lossy    bool    // loses packets without being full: QUIC-like flows do without it if they can
	Dark     bool    // stalled, without a sign of life since
	Capped   bool    // over its byte cap
	Sent     uint64
	Received uint64
	// KeepAlive is how long the path is known to bear silence, in seconds: as seldom the
	// client asks on it at rest. 0 at the server.
	KeepAlive float64
}

// SubflowSnapshot is one subflow.
type SubflowSnapshot struct {
	Path        string
	Slot        int // what the flows call it
	Local       netip.AddrPort
	Remote      netip.AddrPort
	State       string // up, resting, suspect, stale, blocked
	Bulk        bool
	Congestion  string // control that was asked for; empty is the system's
	Backup      bool
	RTT         float64
	RTTVar      float64
	Rate        float64
	Window      int
	Outstanding int
	Retransmits uint64 // data segments that went again, and
	Segments    uint64 // all
	Sent        uint64
	Received    uint64
	Age         float64
}

// Snapshot returns the session's state now.
func (s *Session) Snapshot() Snapshot {
	// Before the session's lock, never under it: the resequencer holds its own
	// while it delivers, and what is delivered may be answered by Send.
	restored, expired := s.reseq.counts()
	var st engine.Status
	r := Snapshot{Peer: s.name, Paths: []PathSnapshot{}, Subflows: []SubflowSnapshot{}, Flows: []FlowSnapshot{}}
	s.enter(func(e *engine.Engine, now int64) {
		st = engine.Describe(e, now, snapshotFlows)
		r.ID, r.Version = sessionNumber(s.number(e)), s.version
	})
	r.Up, r.Mode, r.Renewals, r.FlowCount, r.Streams = st.Up, st.Mode.String(), st.Renewals, st.FlowCount, s.streams.Count()
	r.Queued, r.InFlight, r.Sent, r.Copied, r.Reinjected, r.Drops = st.Queued, st.InFlight, st.Sent, st.Copied, st.Reinjected, st.Drops
	byPath := make(map[*engine.Path]int)
	for i := range st.Paths {
		p := &st.Paths[i]
		byPath[p.Path] = i
		r.Paths = append(r.Paths, PathSnapshot{
			Name: p.Name, Backup: p.Backup, Metered: p.Metered, Rate: p.Rate * 8e9, Pace: p.Pace * 8e9, Lossy: p.Lossy,
			Dark: p.State == engine.PathDark, Capped: p.State == engine.PathFull, Sent: p.Sent, Received: p.Received,
		})
		if s.client {
			r.Paths[i].KeepAlive = float64(p.KeepAlive) / 1e9
		}
	}
	for i := range st.Subflows {
		f := &st.Subflows[i]
		conn := connOf(f.Sub)
		if i, ok := byPath[conn.path]; ok { // else the path was just taken away
			p := &r.Paths[i]
			p.Subflows++
			p.Received += conn.rxOctets.Load()
		}
		r.Subflows = append(r.Subflows, SubflowSnapshot{
			Path: f.Path, Slot: f.Slot, Local: conn.local, Remote: conn.remote, State: f.State, Bulk: f.Bulk,
			Congestion: f.Congestion, Backup: f.Backup, RTT: ms(f.SRTT), RTTVar: ms(f.RTTVar), Rate: f.Rate * 8e9,
			Window: f.CWND, Outstanding: f.Outstanding, Retransmits: f.Retrans, Segments: f.Segs, Sent: f.Sent,
			Received: conn.rxOctets.Load(), Age: ms(f.Age) / 1e3,
		})
	}
	for i := range st.Flows {
		f := flowSnapshot(&st.Flows[i])
		if k := &st.Flows[i].Key; k.Proto == packet.ProtoTCP {
			var ways uint64
			f.Received, ways = s.streams.Received(k)
			f.came(ways, r.Subflows)
		}
		r.Flows = append(r.Flows, f)
	}
	s.space.mu.Lock()
	r.Received, r.Packets, r.Repeats = s.space.in.Octets, s.space.in.Packets, s.space.in.Repeats
	s.space.mu.Unlock()
	r.Restored, r.Expired = restored, expired
	return r
}

func ms(ns int64) float64 { return float64(ns) / 1e6 }

// Carried returns what the session has sent and received, in bytes of packets.
func (s *Session) Carried() (sent, received uint64) {
	s.enter(func(e *engine.Engine, _ int64) { sent = e.Committed() })
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	return sent, s.space.in.Octets
}

// Beside sets how many bytes the Handler, and the kernel for it, hold for this session
// beside what goes through it. The next look at the session counts them.
func (s *Session) Beside(bytes int64) { s.beside.Store(bytes) }

// Turn waits for a turn of the client's (mux/hands), for what the Handler does for it in a goroutine of
// its own. It has to be given back; nil is none, for who needs none.
func (s *Session) Turn() *hands.Hand { return s.hands.Take() }

// ID returns the session's number, by which both halves call it in logs, status
// and metrics: the token of the server's key (RFC 8684, Section 3.2), which the
// client has in its joins. On the client it is another one after a renewal, and 0
// before there are keys.
func (s *Session) ID() (id uint32) {
	s.enter(func(e *engine.Engine, _ int64) { id = s.number(e) })
	return id
}

// number is ID. It is called within enter.
func (s *Session) number(e *engine.Engine) uint32 {
	key := s.key.local
	if s.client {
		key = s.key.remote
	}
	if e.Epoch() == 0 {
		return 0
	}
	return uint32(key.Token())
}

// sessionNumber writes a session's number as logs, status and metrics have it.
func sessionNumber(id uint32) string { return fmt.Sprintf("%08x", id) }
