package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/muxtest"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// publishAs has a peer serve a stream that begins with a request, and returns the
// client's end and the server's answer; 255 is none.
func publishAs(t *testing.T, p *peer, request []byte) (*net.TCPConn, byte) {
	t.Helper()
	here, there := tcpPair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		publish(p, fakeStream{there, &failures{}})
	}()
	t.Cleanup(func() {
		here.Close()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Error("the server does not let go of a stream")
		}
	})
	here.SetDeadline(time.Now().Add(20 * time.Second))
	here.Write(request)
	var code [1]byte
	if _, err := io.ReadFull(here, code[:]); err != nil {
		return here, 255
	}
	return here, code[0]
}

// freePort is one that nobody has, of TCP and UDP.
func freePort(t *testing.T) uint16 {
	t.Helper()
	port, err := muxtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestPublishRules(t *testing.T) {
	port := freePort(t)
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	s := testServer(t, func(c *conf.Server) {
		c.Clients = []conf.Peer{
			{Name: "laptop", Publish: []conf.PortRange{{From: port, To: port}}},
			{Name: "phone", Publish: []conf.PortRange{{From: 1, To: 65535}}},
			{Name: "tv"},
		}
	}, nil)
	laptop, phone, tv := newPeer(s, "laptop", newFakeSession()), newPeer(s, "phone", newFakeSession()), newPeer(s, "tv", newFakeSession())
	ask := func(p *peer, protocol uint8, at netip.AddrPort) byte {
		_, code := publishAs(t, p, (&packet.Publish{Protocol: protocol, At: at, Port: 4000}).Append(nil))
		return code
	}
	other := netip.AddrPortFrom(at.Addr(), freePort(t))
	for _, protocol := range []uint8{packet.ProtocolTCP, packet.ProtocolUDP} {
		if code := ask(tv, protocol, at); code != packet.PublishNotAllowed {
			t.Errorf("a client without ports: %d", code)
		}
		if code := ask(laptop, protocol, other); code != packet.PublishNotAllowed {
			t.Errorf("another port: %d", code)
		}
		if code := ask(laptop, protocol, at); code != packet.PublishOK {
			t.Errorf("an allowed port: %d", code)
		}
		if code := ask(phone, protocol, at); code != packet.PublishTaken {
			t.Errorf("another client's port: %d", code)
		}
	}
	for _, request := range [][]byte{make([]byte, packet.PublishRequestLen), []byte("\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50 and more of it")} {
		if _, code := publishAs(t, phone, request); code != 255 {
			t.Errorf("%q is answered with %d", request, code)
		}
	}
	if code := ask(phone, packet.ProtocolTCP, netip.MustParseAddrPort("203.0.113.77:4321")); code != packet.PublishFailed {
		t.Errorf("an address of another machine: %d", code)
	}
}

// TestPublishedTCP leads a connection to a stream that waits, and tells who it is.
func TestPublishedTCP(t *testing.T) {
	port := freePort(t)
	s := testServer(t, func(c *conf.Server) {
		c.Clients = []conf.Peer{{Name: "laptop", Publish: []conf.PortRange{{From: port, To: port}}}}
	}, nil)
	p := newPeer(s, "laptop", newFakeSession())
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	request := (&packet.Publish{Protocol: packet.ProtocolTCP, At: at}).Append(nil)
	gone, _ := publishAs(t, p, request)
	gone.Close() // a stream that has ended gets no connection
	st, code := publishAs(t, p, request)
	if code != packet.PublishOK {
		t.Fatal(code)
	}
	eventually(t, "the first one's place is left", func() bool { return p.client.streams.used.Load() == 1 })
	visitor, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer visitor.Close()
	visitor.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(visitor, "a question")
	visitor.(*net.TCPConn).CloseWrite()
	all, err := io.ReadAll(st)
	if err != nil || len(all) != packet.PublishVisitorLen+len("a question") {
		t.Fatalf("%q, %v", all, err)
	}
	from, to := packet.ParseVisitor(all)
	if from.String() != visitor.LocalAddr().String() || to != at || string(all[packet.PublishVisitorLen:]) != "a question" {
		t.Errorf("from %s to %s: %q", from, to, all[packet.PublishVisitorLen:])
	}
	fmt.Fprint(st, "an answer")
	st.CloseWrite()
	if all, err := io.ReadAll(visitor); err != nil || string(all) != "an answer" {
		t.Errorf("%q, %v", all, err)
	}
}

// TestPublishedUDP wants the mapping to have the port, whatever the filter and the
// idle time, and to end with its stream.
func TestPublishedUDP(t *testing.T) {
	port := freePort(t)
	s := testServer(t, func(c *conf.Server) {
		c.Relay.Filtering = conf.FilteringAddressPort
		c.Clients = []conf.Peer{{Name: "laptop", Publish: []conf.PortRange{{From: port, To: port}}}}
	}, nil)
	sess := newFakeSession()
	p := newPeer(s, "laptop", sess)
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	st, code := publishAs(t, p, (&packet.Publish{Protocol: packet.ProtocolUDP, At: at, Port: 4000}).Append(nil))
	if code != packet.PublishOK {
		t.Fatal(code)
	}
	p.nat.expire(s.now() + int64(time.Hour))
	if n := p.nat.count(); n != 1 {
		t.Fatalf("%d mappings", n)
	}
	visitor, err := net.Dial("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer visitor.Close()
	fmt.Fprint(visitor, "hello")
	p.Deliver([][]byte{makePacket(inner4(4000), visitor.LocalAddr().(*net.UDPAddr).AddrPort(), 0, 0, []byte("answer"))})
	visitor.SetDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 100)
	if n, err := visitor.Read(b); err != nil || string(b[:n]) != "answer" {
		t.Errorf("%q, %v", b[:n], err)
	}
	sess.next(t) // the visitor's datagram has come
	// The rules let the client send to nobody there, but the visitor is answered.
	s.rules.current.Store(&access{})
	for _, to := range []string{visitor.LocalAddr().String(), "127.0.0.1:9"} {
		p.Deliver([][]byte{makePacket(inner4(4000), netip.MustParseAddrPort(to), 0, 0, []byte("again"))})
	}
	if n, err := visitor.Read(b); err != nil || string(b[:n]) != "again" {
		t.Errorf("%q, %v", b[:n], err)
	}
	if got := s.drops.snapshot(); got["refused"]+got["own"] != 1 {
		t.Errorf("drops: %v", got)
	}
	st.Close()
	for end := time.Now().Add(20 * time.Second); p.nat.count() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the mapping is left")
		}
	}
}

// TestPublishedAnew: a port that a client publishes once more before the server knows that it has given
// it up is published as long as the new stream lives, whatever ends late of what was there before.
func TestPublishedAnew(t *testing.T) {
	port := freePort(t)
	s := testServer(t, func(c *conf.Server) {
		c.Clients = []conf.Peer{{Name: "laptop", Publish: []conf.PortRange{{From: port, To: port}}}}
	}, nil)
	p := newPeer(s, "laptop", newFakeSession())
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	request := (&packet.Publish{Protocol: packet.ProtocolUDP, At: at, Port: 4000}).Append(nil)
	old, code := publishAs(t, p, request)
	if code != packet.PublishOK {
		t.Fatal(code)
	}
	anew, code := publishAs(t, p, request)
	if code != packet.PublishOK {
		t.Fatal(code)
	}
	if n, err := old.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("who has published it before is not told: %d bytes, %v", n, err)
	}
	old.Close()
	eventually(t, "the first stream has ended", func() bool { return p.client.streams.used.Load() == 1 })
	if n := p.nat.count(); n != 1 {
		t.Errorf("%d mappings after the end of the first stream", n)
	}
	key, _ := innerKey(inner4(4000))
	p.nat.end([]uint64{key})
	if n := p.nat.count(); n != 1 {
		t.Errorf("%d mappings after the news that the port had ended", n)
	}
	anew.Close()
	eventually(t, "the port is free", func() bool { return p.nat.count() == 0 })
}

// TestPublishAgain tells a client that was told no when it may have the port: by a
// permission, and by another client's going. One that goes first is let go.
func TestPublishAgain(t *testing.T) {
	port := freePort(t)
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	everything := []conf.PortRange{{From: 1, To: 65535}}
	clients := []conf.Peer{{Name: "laptop"}, {Name: "phone", Publish: everything}}
	s := testServer(t, func(c *conf.Server) { c.Clients = clients }, nil)
	laptop, phone := newPeer(s, "laptop", newFakeSession()), newPeer(s, "phone", newFakeSession())
	for _, protocol := range []uint8{packet.ProtocolTCP, packet.ProtocolUDP} {
		request := (&packet.Publish{Protocol: protocol, At: at, Port: 4000}).Append(nil)
		left, code := publishAs(t, laptop, request)
		refused, also := publishAs(t, laptop, request)
		if code != packet.PublishNotAllowed || also != packet.PublishNotAllowed {
			t.Fatalf("%d, %d", code, also)
		}
		left.Close()
		hears := func(st net.Conn, when string) {
			t.Helper()
			var b [1]byte
			if _, err := io.ReadFull(st, b[:]); err != nil || b[0] != packet.PublishAgain {
				t.Errorf("%s: %d, %v", when, b[0], err)
			}
		}
		s.publishing.allow(clients) // nothing of its own
		_ = refused.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, _ := refused.Read(make([]byte, 1)); n > 0 {
			t.Error("a client is told that has no leave")
		}
		_ = refused.SetReadDeadline(time.Now().Add(20 * time.Second))
		s.publishing.allow([]conf.Peer{{Name: "laptop", Publish: everything}, clients[1]})
		hears(refused, "with leave")

		first, code := publishAs(t, laptop, request)
		second, also := publishAs(t, phone, request)
		if code != packet.PublishOK || also != packet.PublishTaken {
			t.Fatalf("%d, %d", code, also)
		}
		first.Close()
		if protocol == packet.ProtocolUDP {
			hears(second, "when it is free")
		} else {
			s.publishing.allow(clients) // the door would rest a while
			hears(second, "when it is free")
		}
		s.publishing.allow(clients)
	}
	if n := s.publishing.standing.Load(); n < 0 || n > 4 {
		t.Errorf("%d streams stand", n)
	}
}

// TestPublishAnew: a client that was killed and is started again has its ports at once, though the
// session of before is kept for a while; while no session has a subflow a connection waits for
// any of them.
func TestPublishAnew(t *testing.T) {
	port := freePort(t)
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	s := testServer(t, func(c *conf.Server) {
		c.Clients = []conf.Peer{{Name: "laptop", Publish: []conf.PortRange{{From: port, To: port}}}}
	}, nil)
	killed := newFakeSession()
	before, now := newPeer(s, "laptop", killed), newPeer(s, "laptop", newFakeSession())
	ask := func(p *peer, protocol uint8) (*net.TCPConn, byte) {
		return publishAs(t, p, (&packet.Publish{Protocol: protocol, At: at, Port: 4000}).Append(nil))
	}
	visited := func(st net.Conn, what string) {
		t.Helper()
		visitor, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { visitor.Close() })
		_ = st.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadFull(st, make([]byte, packet.PublishVisitorLen)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	wait := func(p *peer, n int) (st *net.TCPConn) {
		t.Helper()
		st, _ = ask(p, packet.ProtocolTCP)
		s.publishing.mu.Lock()
		d := s.publishing.doors[at]
		s.publishing.mu.Unlock()
		eventually(t, "the stream waits", func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return len(d.waiting) == n
		})
		return st
	}
	ask(before, packet.ProtocolUDP)
	killed.down.Store(true)
	visited(wait(before, 1), "nobody else waits")
	wait(before, 1)
	visited(wait(now, 2), "beside the killed one's")
	for end := time.Now().Add(5 * time.Second); ; {
		st, code := ask(now, packet.ProtocolUDP)
		if code == packet.PublishOK {
			break
		}
		if _, err := io.ReadFull(st, make([]byte, 1)); err != nil || time.Now().After(end) {
			t.Fatalf("UDP: %d, %v", code, err)
		}
	}
	if n := before.nat.count(); n != 0 {
		t.Errorf("the killed one's session has %d mappings", n)
	}
}
