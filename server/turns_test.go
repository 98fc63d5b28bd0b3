package server

import (
	"slices"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// waiting is how many names of a peer's client wait for their turn.
func waiting(p *peer) int { return p.server.resolver.asking.Waiting(&p.client.names) }

// TestConnectsAskInOrder: of CONNECTs to names for which there is no room the first is asked
// for first, and another client's does not wait for all of them.
func TestConnectsAskInOrder(t *testing.T) {
	type asked struct {
		name   string
		answer chan struct{}
	}
	came := make(chan asked)
	at := dnsServer(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		if m.Questions[0].Type != dnsmessage.TypeA {
			return &m // no such address
		}
		a := asked{m.Questions[0].Name.String(), make(chan struct{})}
		came <- a
		<-a.answer
		return addA(m, 0, "127.0.0.1")
	})
	s := testServer(t, nil, func(s *Server) { s.resolver.config, s.resolver.hosts = upstreams(at), noNames })
	s.resolver.asking.Cap(1, 1)
	greedy, modest := newPeer(s, "laptop", newFakeSession()), newPeer(s, "phone", newFakeSession())
	ask := func(p *peer, name string) {
		app, _ := openStream(t, p)
		_, _ = app.Write(append(append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(name))}, name...), 0, 9))
	}
	ask(greedy, "first.test")
	next := <-came
	for i, name := range []string{"a.test", "b.test", "c.test", "d.test"} {
		ask(greedy, name)
		eventually(t, name+" waits", func() bool { return waiting(greedy) == i+1 })
	}
	ask(modest, "x.test")
	eventually(t, "another client waits", func() bool { return waiting(modest) == 1 })
	var order []string
	for range 5 {
		close(next.answer)
		next = <-came
		order = append(order, next.name)
	}
	close(next.answer)
	if want := []string{"x.test.", "a.test.", "b.test.", "c.test.", "d.test."}; !slices.Equal(order, want) {
		t.Errorf("asked in the order %v, want %v", order, want)
	}
}
