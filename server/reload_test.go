package server

import (
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
)

// Access rules, limits and the idle time change for what is there; the mapping stays.
func TestApply(t *testing.T) {
	cfg := conf.DefaultServer()
	cfg.Relay.Allow = allow(t, "127.0.0.0/8")
	s := testServer(t, nil, func(s *Server) { s.rules.current.Store(&access{allow: cfg.Relay.Allow}) })
	f := newFakeSession()
	p := newPeer(s, "ann", f)
	defer p.Closed(nil)
	remote, to := remoteUDP(t, "127.0.0.1")
	send := func(port uint16, text string) { p.Deliver([][]byte{makePacket(inner4(port), to, 0, 1, []byte(text))}) }
	send(5000, "before")
	read(t, remote)

	cfg.Relay.Allow = nil
	cfg.Limits.Mappings, cfg.Limits.MappingsPerClient = 1, 1
	cfg.Relay.Filtering = conf.FilteringAddress
	cfg.Relay.IdleTimeout = 3 * time.Minute
	if err := s.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	send(5000, "refused now")
	silent(t, remote)
	if n := p.nat.count(); n != 1 {
		t.Errorf("%d mappings after the change", n)
	}
	cfg.Relay.Allow = allow(t, "127.0.0.0/8")
	if err := s.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	send(5000, "again")
	if got, _ := read(t, remote); got != "again" {
		t.Errorf("%q", got)
	}
	// The limit holds for what comes now.
	send(5001, "one too many")
	silent(t, remote)
	if got := s.outlet.relay.Load().idle; got != 3*time.Minute {
		t.Errorf("idle after %v", got)
	}
	// The caps of a client that is gone are forgotten with what it held.
	cfg.Clients = []conf.Peer{{Name: "bob"}}
	p.Closed(nil)
	cfg.Clients[0].PublicKey = make(conf.PublicKey, 32)
	if err := s.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	if _, there := s.roll.clients["ann"]; there {
		t.Error("a client that is gone is remembered")
	}
}
