package server

import (
	"cmp"
	"slices"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// State is the Server at one moment, for status, metrics and tests. Counters
// count from the start.
type State struct {
	Clients  []ClientState  `json:"clients"`
	Sessions []mux.Snapshot `json:"sessions"`
	Mappings int64          `json:"mappings"` // live
	Streams  int64          `json:"streams"`  // live
	Queries  int64          `json:"queries"`  // names that are being resolved

	Sent     uint64            `json:"sent"`     // datagrams to the internet
	Received uint64            `json:"received"` // datagrams from the internet
	Drops    map[string]uint64 `json:"drops"`    // datagrams, by reason
	Connects map[string]uint64 `json:"connects"` // CONNECTs, by what became of them
	Sockets  SocketState       `json:"sockets"`  // what the Loops say
}

// ClientState is what one client's sessions hold together.
type ClientState struct {
	Name     string `json:"name"`
	Sessions int    `json:"sessions"`
	Mappings int64  `json:"mappings"`
	Streams  int64  `json:"streams"`
}

// SocketState is what the receiving side of the mappings' sockets counted.
type SocketState struct {
	Calls  uint64 `json:"calls"`  // receive system calls that brought something
	Errors uint64 `json:"errors"` // ICMP errors; none of them ends a mapping
	Drops  uint64 `json:"drops"`
}

// Snapshot returns the present State.
func (s *Server) Snapshot() any {
	st := s.state()
	if s.listener != nil {
		for _, sess := range s.listener.Sessions() {
			st.Sessions = append(st.Sessions, sess.Snapshot())
		}
	}
	return st
}

func (s *Server) state() State {
	st := State{
		Clients:  []ClientState{},
		Sessions: []mux.Snapshot{},
		Mappings: s.mappings.used.Load(),
		Streams:  s.streams.used.Load(),
		Queries:  s.resolver.queries.used.Load(),
		Sent:     s.sent.Load(),
		Received: s.received.Load(),
		Drops:    s.drops.snapshot(),
		Connects: map[string]uint64{
			"connected": s.connects.connected.Load(),
			"failed":    s.connects.failed.Load(),
			"refused":   s.connects.refused.Load(),
			"denied":    s.connects.denied.Load(),
			"capped":    s.connects.capped.Load(),
		},
	}
	var sockets udpio.Stats
	for _, r := range s.rooms {
		sockets.Add(r.loop.Stats())
	}
	st.Sockets = SocketState{Calls: sockets.Calls, Errors: sockets.Errors, Drops: sockets.Dropped()}
	s.mu.Lock()
	defer s.mu.Unlock()
	sessions := make(map[*client]int)
	for p := range s.peers {
		sessions[p.client]++
	}
	for _, c := range s.clients {
		st.Clients = append(st.Clients, ClientState{
			Name: c.name, Sessions: sessions[c], Mappings: c.mappings.used.Load(), Streams: c.streams.used.Load(),
		})
	}
	slices.SortFunc(st.Clients, func(a, b ClientState) int { return cmp.Compare(a.Name, b.Name) })
	return st
}
