package server

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

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
	asked := s.exits.asked()
	for _, sess := range s.listener.Sessions() {
		session, programs := status.OfSession(sess.Snapshot())
		for _, p := range programs {
			// From here the internet is the source: the far end of a program.
			p.App, p.To = p.To, p.App
			if to := asked[p.App]; p.Proto == "tcp" && to != "" {
				p.To = to
			}
			p.User = ""
			p.Explain(session.Paths)
			st.Programs = append(st.Programs, p)
		}
		st.Sessions = append(st.Sessions, session)
	}
	slices.SortFunc(st.Sessions, func(a, b status.Session) int { return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.ID, b.ID)) })
	if st.Ready = len(st.Listen) > 0 && s.ctx.Err() == nil; !st.Ready {
		st.Reasons = []string{"it is ending"}
	}
	return st
}

// status is Status without the tunnel.
func (s *Server) status() *status.Status {
	st := &status.Status{
		Half: status.Server, Time: time.Now(), Listen: []string{}, Programs: []status.Program{}, Events: []status.Event{},
		Sessions: []status.Session{}, Clients: []status.Peer{},
		Mappings:      int(s.mappings.used.Load()),
		Streams:       int(s.streams.used.Load()),
		Queries:       int(s.resolver.queries.used.Load()),
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
	for _, r := range s.rooms {
		sockets.Add(r.loop.Stats())
	}
	st.SocketErrors = sockets.Errors
	st.Drops["kernel"] = sockets.Dropped()
	s.mu.Lock()
	defer s.mu.Unlock()
	sessions := make(map[*client]int)
	sent, received := make(map[*client]uint64), make(map[*client]uint64)
	for p := range s.peers {
		sessions[p.client]++
		up, down := p.carried()
		sent[p.client] += up
		received[p.client] += down
	}
	for _, c := range s.clients {
		problem := ""
		if c.over.Load() {
			problem = c.used(st.Time)
		}
		st.Clients = append(st.Clients, status.Peer{
			Quota: c.quota, Used: s.usage.known[c.name].Bytes, Error: problem,
			Name: c.name, Sessions: sessions[c], Mappings: int(c.mappings.used.Load()), Streams: int(c.streams.used.Load()),
			Sent: c.sent + sent[c], Received: c.received + received[c],
		})
	}
	slices.SortFunc(st.Clients, func(a, b status.Peer) int { return cmp.Compare(a.Name, b.Name) })
	return st
}

// carried is what the session has sent to its client and received from it, bytes.
func (p *peer) carried() (sent, received uint64) {
	if m, ok := p.session.(interface {
		Carried() (sent, received uint64)
	}); ok {
		return m.Carried()
	}
	return 0, 0
}

// asked is what the live CONNECTs are to, by the client's end inside the tunnel.
func (t *exits) asked() map[string]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[string]string, len(t.set))
	for e := range t.set {
		to := e.asked.Load()
		at, err := netip.ParseAddrPort(e.stream.RemoteAddr().String())
		if to != nil && err == nil {
			out[at.String()] = *to
		}
	}
	return out
}
