package server

import (
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
)

// A client that was killed and comes back has its share at once: what its session of before holds is
// given back when it is needed. It was refused for as long as that session waited. A session that is up gives
// nothing back.
func TestKilledClientHasItsShare(t *testing.T) {
	s := testServer(t, func(c *conf.Server) { c.Limits.StreamsPerClient, c.Limits.MappingsPerClient = 2, 2 }, nil)
	ln := listenTCP(t, "127.0.0.1:0")
	killed := newFakeSession()
	before, now := newPeer(s, "laptop", killed), newPeer(s, "laptop", newFakeSession())
	killed.yield = func() { before.Closed(mux.ErrTimeout) }
	opens := func(p *peer, port uint16) bool {
		key, _ := innerKey(inner4(port))
		m, _ := p.nat.open(key, inner4(port), s.now())
		return m != nil
	}
	for port := range uint16(2) {
		connectThrough(t, before, ln, "")
		if !opens(before, 7+port) {
			t.Fatal("no mapping")
		}
	}
	if opens(now, 7) {
		t.Error("a mapping beyond the limit, beside a session that is up")
	}
	refused, _ := openStream(t, now)
	if n, err := refused.Read(make([]byte, 1)); err == nil {
		t.Errorf("a stream beyond the limit, beside a session that is up: %d", n)
	}
	time.Sleep(reliefEvery)
	killed.down.Store(true)
	for range 2 {
		connectThrough(t, now, ln, "")
	}
	for port := range uint16(2) {
		eventually(t, "its mappings are there", func() bool { return opens(now, 7+port) })
	}
}
