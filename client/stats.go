package client

import "github.com/mpsocks/mpsocks/mux"

// Snapshot is the state of a client for status, metrics and tests.
type Snapshot struct {
	Listen       []string          `json:"listen"`
	Associations int               `json:"associations"`
	Streams      int               `json:"streams"`
	Pending      int64             `json:"pending"` // connections in their handshake
	Forwards     []ForwardSnapshot `json:"forwards"`
	Names        int               `json:"names"`       // remembered
	Questions    int               `json:"questions"`   // names being asked for
	InnerPorts   int               `json:"inner_ports"` // in use

	DatagramsUp   uint64            `json:"datagrams_up"`   // taken by the session
	DatagramsDown uint64            `json:"datagrams_down"` // handed to applications
	StreamUp      uint64            `json:"stream_bytes_up"`
	StreamDown    uint64            `json:"stream_bytes_down"`
	Drops         map[string]uint64 `json:"drops"`   // datagrams by reason
	Refused       map[string]uint64 `json:"refused"` // requests by reason

	Session mux.Snapshot `json:"session"`
}

// ForwardSnapshot is the state of one fixed forward.
type ForwardSnapshot struct {
	Listen string `json:"listen"`
	Peers  int    `json:"peers"`
}

// Snapshot returns a *Snapshot. Any goroutine may call it.
func (c *Client) Snapshot() any {
	s := &Snapshot{
		InnerPorts:    c.ports.used(),
		DatagramsDown: c.received.Load(),
		StreamUp:      c.streamUp.Load(),
		StreamDown:    c.streamDown.Load(),
		Drops:         c.drops.snapshot(),
	}
	for _, a := range c.Addrs() {
		s.Listen = append(s.Listen, a.String())
	}
	pending, crowded := c.lobby.state()
	s.Pending = int64(pending)
	var noAssociation, noStream uint64
	s.Associations, noAssociation = c.associations.state()
	s.Streams, noStream = c.streams.state()
	s.Refused = map[string]uint64{
		"pending": crowded, "descriptors": c.descriptors.refused.Load(), "handshake": c.failed.Load(), "exit": c.exitRefused.Load(),
		"password": c.guesses.wrong.Load(), "password_unread": c.guesses.refused.Load(),
		"associations": noAssociation, "streams": noStream,
	}
	for _, f := range c.forwardList() {
		s.Forwards = append(s.Forwards, ForwardSnapshot{f.conn.LocalAddr().String(), f.count()})
	}
	for _, l := range c.lanes {
		s.DatagramsUp += l.sent.Load()
	}
	c.names.mu.Lock()
	s.Names, s.Questions = len(c.names.byHost), len(c.names.open)/2
	c.names.mu.Unlock()
	if c.mux != nil {
		s.Session = c.mux.Session().Snapshot()
	}
	return s
}
