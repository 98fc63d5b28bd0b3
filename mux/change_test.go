package mux

import (
	"crypto/ed25519"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/muxtest"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// pub is a key as a Listener's clients list has it.
func pub(key ed25519.PrivateKey) [32]byte { return [32]byte(key.Public().(ed25519.PublicKey)) }

// anotherClient joins a second client, with a key of its own, to the listener of n.
func anotherClient(t *testing.T, n *loopTunnel, key ed25519.PrivateKey) *Client {
	t.Helper()
	c, err := NewClient(ClientConfig{
		Key: key, ServerKey: n.serverKey.Public().(ed25519.PublicKey), Handler: newCollector(),
		Addresses: []string{n.addr.String()}, Paths: []Path{{Name: "other", Subflows: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { c.Run(t.Context()); close(done) }()
	t.Cleanup(func() { <-done })
	if err := c.Session().Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// A client that is taken out of the list loses its session at once and gets no other;
// nobody else's subflow ends, and the listener moves to another address meanwhile.
func TestChangeRevokesOne(t *testing.T) {
	_, second, _ := ed25519.GenerateKey(nil)
	n := newLoopTunnel(t, 1, 2, func(_ *ClientConfig, lc *ListenerConfig) { lc.Clients[pub(second)] = "second" })
	mine := <-n.serverSession
	other := anotherClient(t, n, second)
	theirs := <-n.serverSession

	cfg := n.listenerConfig()
	port, err := muxtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen = []ListenAddr{{Addr: n.addr}, {Addr: netip.AddrPortFrom(n.addr.Addr(), port)}}
	cfg.Rules = []Rule{{DSCP: -1, Class: fq.ClassBackup}}
	if err := n.listener.Change(cfg); err != nil {
		t.Fatal(err)
	}
	select {
	case <-theirs.end.done:
	case <-time.After(20 * time.Second):
		t.Error("the session of a revoked client lives on")
	}
	eventually(t, "the revoked client hears of it", func() bool { return !other.Session().Snapshot().Up })
	if s := mine.Snapshot(); !s.Up || len(s.Subflows) != 2 || s.Subflows[0].Age == 0 {
		t.Errorf("the other client's session: %+v", s)
	}
	if c, ok := engine.Ruled(*mine.rules.Load(), "test", [16]byte{}, 1, 0); !ok || c != fq.ClassBackup {
		t.Error("the new rules do not hold in the old session")
	}
	if a := n.listener.Addrs(); len(a) != 2 {
		t.Errorf("listens at %v", a)
	}
	// Without its first address new subflows are refused, and what is up stays.
	cfg.Listen = cfg.Listen[1:]
	if err := n.listener.Change(cfg); err != nil {
		t.Fatal(err)
	}
	if c, err := net.DialTimeout("tcp", n.addr.String(), time.Second); err == nil {
		c.Close()
		t.Error("an address that was left still answers")
	}
	if s := mine.Snapshot(); len(s.Subflows) != 2 {
		t.Errorf("%d subflows are left", len(s.Subflows))
	}
}

// whileOpening has a second client begin a session, and something happen while the server opens it.
func whileOpening(t *testing.T, happens func(n *loopTunnel, c *Client) error) (c *Client, theirs *Session) {
	t.Helper()
	_, second, _ := ed25519.GenerateKey(nil)
	tunnel := make(chan *loopTunnel, 1)
	n := newLoopTunnel(t, 1, 1, func(_ *ClientConfig, lc *ListenerConfig) {
		lc.Clients[pub(second)] = "second"
		accept := lc.Accept
		lc.Accept = func(s *Session) (Handler, error) {
			if s.Peer() == "second" {
				n := <-tunnel // c is there, too
				if err := happens(n, c); err != nil {
					t.Error(err)
				}
			}
			return accept(s)
		}
	})
	<-n.serverSession
	c, err := NewClient(ClientConfig{
		Key: second, ServerKey: n.serverKey.Public().(ed25519.PublicKey), Handler: newCollector(),
		Addresses: []string{n.addr.String()}, Paths: []Path{{Name: "other", Subflows: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tunnel <- n
	done := make(chan struct{})
	go func() { c.Run(t.Context()); close(done) }()
	t.Cleanup(func() { <-done })
	return c, <-n.serverSession
}

// A client that is taken out of the list while it opens its session does not get it.
func TestChangeRevokesWhoIsOpening(t *testing.T) {
	_, theirs := whileOpening(t, func(n *loopTunnel, _ *Client) error { return n.listener.Change(n.listenerConfig()) })
	select {
	case <-theirs.end.done:
	case <-time.After(20 * time.Second):
		t.Error("the session of a revoked client lives on")
	}
}

// Who is in a handshake when the server begins to drain hears that it ends.
func TestDrainIsToldToWhoIsOpening(t *testing.T) {
	c, _ := whileOpening(t, func(n *loopTunnel, _ *Client) error { n.listener.Drain(time.Minute); return nil })
	eventually(t, "the client is told", func() bool {
		c.opening.mu.Lock()
		defer c.opening.mu.Unlock()
		return c.opening.moving != 0 && c.opening.moving == c.session.keys().epoch
	})
}

// setServer has a client know other addresses and keys of its server.
func setServer(c *Client, addresses []string, keys ...ed25519.PublicKey) error {
	set, err := c.PrepareServer(addresses, keys)
	if err == nil {
		set()
	}
	return err
}

// A server whose key is taken out of the client's configuration while a subflow is made does not get it.
func TestSetServerWhileDialling(t *testing.T) {
	fresh, _, _ := ed25519.GenerateKey(nil)
	c, _ := whileOpening(t, func(n *loopTunnel, c *Client) error {
		return setServer(c, []string{n.addr.String()}, fresh)
	})
	eventually(t, "the path has no server", func() bool {
		r := c.Reports()[0]
		return r.Error != "" && r.Subflows == 0
	})
}

// A server that ends listens nowhere again when its configuration is read anew, even where its
// address is somebody else's by then; a client that is taken out of the list loses its session.
func TestChangeWhileDraining(t *testing.T) {
	n := newLoopTunnel(t, 1, 1, nil)
	mine := <-n.serverSession
	n.listener.Drain(time.Minute)
	cfg := n.listenerConfig()
	if err := n.listener.Change(cfg); err != nil {
		t.Fatal(err)
	}
	if a := n.listener.Addrs(); len(a) != 0 {
		t.Errorf("listens at %v", a)
	}
	next, err := net.Listen("tcp", n.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	cfg.Clients = nil
	if err := n.listener.Change(cfg); err != nil {
		t.Error(err)
	}
	select {
	case <-mine.end.done:
	case <-time.After(20 * time.Second):
		t.Error("the session of a revoked client lives on")
	}
}

// An address that cannot be had changes nothing.
func TestChangeFailsWhole(t *testing.T) {
	n := newLoopTunnel(t, 1, 1, nil)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := n.listenerConfig()
	cfg.Clients = nil
	cfg.Listen = []ListenAddr{{Addr: taken.Addr().(*net.TCPAddr).AddrPort()}}
	if err := n.listener.Change(cfg); err == nil {
		t.Fatal("no error")
	}
	if a := n.listener.Addrs(); len(a) != 1 || a[0] != n.addr {
		t.Errorf("listens at %v", a)
	}
	if s := n.client.Session().Snapshot(); !s.Up {
		t.Error("the session has ended")
	}
}

// A server that listens at IPv6's wildcard, for both families, can get IPv4's beside it.
func TestChangeToBothWildcards(t *testing.T) {
	if !muxtest.HasIPv6() {
		t.Skip("this machine has no IPv6 loopback")
	}
	port, err := muxtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	four, six := netip.AddrPortFrom(netip.IPv4Unspecified(), port), netip.AddrPortFrom(netip.IPv6Unspecified(), port)
	n := newLoopTunnel(t, 1, 1, nil)
	for _, addrs := range [][]netip.AddrPort{{six}, {four, six}, {six}} {
		cfg := n.listenerConfig()
		cfg.Listen = []ListenAddr{{Addr: n.addr}}
		for _, a := range addrs {
			cfg.Listen = append(cfg.Listen, ListenAddr{Addr: a})
		}
		if err := n.listener.Change(cfg); err != nil {
			t.Fatalf("%v: %v", addrs, err)
		}
		c, err := net.Dial("tcp4", netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port).String())
		if err != nil {
			t.Fatalf("%v: %v", addrs, err)
		}
		c.Close()
	}
	if s := n.client.Session().Snapshot(); !s.Up {
		t.Error("the session has ended")
	}
}

// A server gets another key while its clients stay: they trust both, then the new one.
func TestServerKeyRotates(t *testing.T) {
	n := newLoopTunnel(t, 1, 2, nil)
	_, next, _ := ed25519.GenerateKey(nil)
	old, fresh := n.serverKey.Public().(ed25519.PublicKey), next.Public().(ed25519.PublicKey)
	servers := []string{n.addr.String()}
	if err := setServer(n.client, servers, old, fresh); err != nil {
		t.Fatal(err)
	}
	n.serverKey = next
	if err := n.listener.Change(n.listenerConfig()); err != nil {
		t.Fatal(err)
	}
	if s := n.client.Session().Snapshot(); len(s.Subflows) != 2 {
		t.Errorf("%d subflows after the server's key has changed", len(s.Subflows))
	}
	before := n.client.Session().ID()
	if err := setServer(n.client, servers, fresh); err != nil {
		t.Fatal(err)
	}
	eventually(t, "subflows with the new key", func() bool {
		s := n.client.Session()
		subs := s.core.connections()
		for _, f := range subs {
			if isDead(f) || f.peer != pub(next) {
				return false
			}
		}
		return len(subs) == 2
	})
	if n.client.Session().ID() != before {
		t.Error("another session was begun")
	}
}

// Flows that are under way follow rules and modes that change.
func TestPolicyOfFlowsUnderWay(t *testing.T) {
	n := newLoopTunnel(t, 1, 1, nil)
	s := n.client.Session()
	n.send(1, 1000, 200, nil)
	class := func() (fq.Class, string) {
		for _, f := range s.Snapshot().Flows {
			if f.Proto == packet.ProtoUDP && f.To.Port() == 9 {
				c, err := ParseClass(f.Class)
				if err != nil {
					t.Error(err)
				}
				return c, f.Why
			}
		}
		return 0, "none"
	}
	if c, why := class(); c != fq.ClassLatency {
		t.Fatalf("%v, %s", c, why)
	}
	n.client.SetPolicy(ModeAuto, []Rule{{Ports: [2]uint16{9, 9}, DSCP: -1, Class: fq.ClassMetered}}, 0)
	if c, why := class(); c != fq.ClassMetered || why != "rule" {
		t.Errorf("with a rule: %v, %s", c, why)
	}
	n.client.SetPolicy(ModeAggregate, nil, 0)
	if c, why := class(); c != fq.ClassBulk {
		t.Errorf("in mode aggregate: %v, %s", c, why)
	}
	n.client.SetPolicy(ModeAuto, nil, 0)
	if c, why := class(); c != fq.ClassLatency {
		t.Errorf("without: %v, %s", c, why)
	}
}
