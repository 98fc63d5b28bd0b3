package server

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
	"github.com/mpsocks/mpsocks/status"
)

// Status is the server at this moment. Any goroutine may call it.
func (s *Server) Status() *status.Status {
	st := s.status()
	if s.listener == nil {
		return st
	}
	for _, a := range s.Addrs() {
		st.Listen = append(st.Listen, a.String())
	}
	st.Refused = s.listener.Refusals()
	door, memory := s.listener.Door()
	st.Gate, st.Memory = &door, &memory
	asked := s.exits.asked()
	for _, sess := range s.listener.Sessions() {
		session, programs := status.OfSession(sess.Snapshot())
		for _, p := range programs {
			// From here the internet is the source: the far end of a program.
			p.App, p.To = p.To, p.App
			if p.BelongsToTunnel() {
				continue
			}
			leadsTo(&p, asked)
			p.User = ""
			p.Explain(session.Paths)
			st.Programs = append(st.Programs, p)
		}
		st.Sessions = append(st.Sessions, session)
		if i := slices.IndexFunc(st.Clients, func(c status.Peer) bool { return c.Name == session.Peer }); i >= 0 && session.Version != "" {
			st.Clients[i].Version = session.Version
		}
	}
	slices.SortFunc(st.Sessions, func(a, b status.Session) int { return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.ID, b.ID)) })
	if st.Ready = len(st.Listen) > 0 && s.ctx.Err() == nil; !st.Ready {
		st.Reasons = []string{"it is ending"}
	}
	return st
}

// exitAt is where CONNECTs come to inside the tunnel.
var exitAt = netip.AddrPortFrom(packet.ServerHost4, packet.ExitPort).String()

// leadsTo gives the flow of a CONNECT its destination, by the client's end. One that is over has
// none, and no program any more.
func leadsTo(p *status.Program, asked map[string]string) {
	if p.Proto != "tcp" {
		return
	}
	switch to := asked[p.App]; {
	case to != "":
		p.To = to
	case p.To == exitAt:
		p.App = ""
	}
}

// status is Status without the tunnel.
func (s *Server) status() *status.Status {
	st := &status.Status{
		Half: status.Server, Time: time.Now(), Listen: []string{}, Programs: []status.Program{}, Events: []status.Event{},
		Sessions:      []status.Session{},
		Mappings:      int(s.mappings.used.Load()),
		Streams:       int(s.streams.used.Load()),
		Queries:       s.resolver.Held(),
		DatagramsUp:   s.sent.Load(),
		DatagramsDown: s.received.Load(),
		Drops:         s.drops.all(),
		Refused:       map[string]uint64{},
		Connects: map[string]uint64{
			"connected": s.connects.connected.Load(),
			"failed":    s.connects.failed.Load(),
			"refused":   s.connects.refused.Load(),
			"denied":    s.connects.denied.Load(),
			"capped":    s.connects.capped.Load(),
		},
	}
	var sockets udpio.Stats
	for _, l := range s.outlet.loops {
		sockets.Add(l.Stats())
	}
	st.SocketErrors = sockets.Errors
	st.Drops["kernel"] = sockets.Dropped()
	st.Clients = s.roll.status(st.Time)
	counts, revoked := s.roll.counts(), s.roll.revoked()
	st.Counts, st.RevokedSent, st.RevokedReceived = &counts, revoked.sent, revoked.received
	return st
}
