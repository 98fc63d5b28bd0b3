package mux

import (
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/fq"
)

// Snapshot is the state of a session for status, metrics and tests. Times are
// milliseconds, rates bits a second, amounts bytes.
type Snapshot struct {
	ID         string            `json:"id"` // see Session.ID
	Peer       string            `json:"peer,omitempty"`
	Version    string            `json:"peer_version,omitempty"` // the peer's release
	Up         bool              `json:"up"`
	Mode       string            `json:"mode"`
	Renewals   uint64            `json:"renewals"`
	Paths      []PathSnapshot    `json:"paths"`
	Subflows   []SubflowSnapshot `json:"subflows"`
	Flows      []FlowSnapshot    `json:"flows"`
	FlowCount  int               `json:"flow_count"`
	Streams    int               `json:"streams"`
	Queued     int               `json:"queued_bytes"`
	InFlight   int               `json:"in_flight_bytes"`
	Sent       uint64            `json:"sent_bytes"`
	Copied     uint64            `json:"copied_bytes"`
	Reinjected uint64            `json:"reinjected_packets"`
	Received   uint64            `json:"received_bytes"`
	Packets    uint64            `json:"received_packets"`
	Repeats    uint64            `json:"received_repeats"`
	Restored   uint64            `json:"resequenced_packets"`
	Expired    uint64            `json:"resequencing_expired"`
	Drops      map[string]uint64 `json:"drops"`
}

// PathSnapshot is one path.
type PathSnapshot struct {
	Name     string  `json:"name"`
	Backup   bool    `json:"backup"`
	Metered  bool    `json:"metered"`
	Subflows int     `json:"subflows"`
	Rate     float64 `json:"rate_bps"`
	Pace     float64 `json:"pace_bps"` // 0 = not paced
	Lossy    bool    `json:"lossy"`    // loses packets without being full: QUIC-like flows do without it if they can
	Dark     bool    `json:"dark"`     // stalled, without a sign of life since
	Capped   bool    `json:"capped"`   // over its byte cap
	Sent     uint64  `json:"sent_bytes"`
	Received uint64  `json:"received_bytes"`
}

// SubflowSnapshot is one subflow.
type SubflowSnapshot struct {
	Path        string         `json:"path"`
	Slot        int            `json:"slot"` // what the flows call it
	Local       netip.AddrPort `json:"local"`
	Remote      netip.AddrPort `json:"remote"`
	State       string         `json:"state"` // up, suspect, stale, blocked
	Bulk        bool           `json:"bulk"`
	Congestion  string         `json:"congestion"` // control that was asked for; empty is the system's
	Backup      bool           `json:"backup"`
	RTT         float64        `json:"rtt_ms"`
	RTTVar      float64        `json:"rttvar_ms"`
	Rate        float64        `json:"rate_bps"`
	Window      int            `json:"cwnd_bytes"`
	Outstanding int            `json:"outstanding_bytes"`
	Retransmits uint64         `json:"retransmits"`
	Sent        uint64         `json:"sent_bytes"`
	Received    uint64         `json:"received_bytes"`
	Age         float64        `json:"age_s"`
}

// Snapshot returns the session's state now.
func (s *Session) Snapshot() Snapshot {
	// Before the session's lock, never under it: the resequencer holds its own
	// while it delivers, and what is delivered may be answered by Send.
	restored, expired := s.reseq.counts()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	r := Snapshot{
		ID: Number(s.number()), Peer: s.name, Version: s.version, Up: len(s.subs) > 0, Mode: s.mode.String(), Renewals: s.renewals,
		Paths: []PathSnapshot{}, Subflows: []SubflowSnapshot{}, Flows: []FlowSnapshot{},
		FlowCount: len(s.flows), Streams: s.streams.Count(), Queued: s.queue.Bytes, InFlight: s.inflight.Bytes,
		Sent: s.octets, Copied: s.copied, Reinjected: s.reinjected, Drops: make(map[string]uint64),
	}
	for i, n := range fq.DropNames {
		r.Drops[n] = s.queue.Drops[i]
	}
	for _, p := range s.paths {
		r.Paths = append(r.Paths, PathSnapshot{Name: p.cfg.Name, Backup: p.cfg.Backup, Metered: p.cfg.Metered, Rate: p.rate * 8e9, Pace: p.paced * 8e9, Lossy: p.judge.Lossy, Dark: p.dark, Capped: p.capped, Sent: p.sent, Received: p.received})
	}
	byPath := make(map[*path]int)
	for i, p := range s.paths {
		byPath[p] = i
	}
	for _, f := range s.subs {
		if i, ok := byPath[f.path]; ok { // else the path was just taken away
			p := &r.Paths[i]
			p.Subflows++
			p.Received += f.rxOctets.Load()
		}
		r.Subflows = append(r.Subflows, SubflowSnapshot{
			Path: f.path.cfg.Name, Slot: f.slot, Local: f.local, Remote: f.remote, State: f.state(now), Bulk: f.bulk, Congestion: f.cc, Backup: f.backup,
			RTT: ms(f.tx.srtt), RTTVar: ms(f.tx.rttvar), Rate: f.tx.rate * 8e9, Window: f.tx.cwnd,
			Outstanding: f.tx.outstanding, Retransmits: f.tx.retrans, Sent: f.sent, Received: f.rxOctets.Load(),
			Age: ms(now-f.born) / 1e3,
		})
	}
	for _, f := range s.largest(snapshotFlows) {
		r.Flows = append(r.Flows, s.flowSnapshot(f, now))
	}
	s.space.mu.Lock()
	r.Received, r.Packets, r.Repeats = s.space.in.Octets, s.space.in.Packets, s.space.in.Repeats
	s.space.mu.Unlock()
	r.Restored, r.Expired = restored, expired
	return r
}

func ms(ns int64) float64 { return float64(ns) / 1e6 }

func (f *subflow) state(now int64) string {
	switch {
	case f.stale:
		return "stale"
	case f.overdue(f.age(now)):
		return "suspect"
	case f.blocked:
		return "blocked"
	}
	return "up"
}

// Carried returns what the session has sent and received, in bytes of packets.
func (s *Session) Carried() (sent, received uint64) {
	s.mu.Lock()
	sent = s.octets
	s.mu.Unlock()
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	return sent, s.space.in.Octets
}
