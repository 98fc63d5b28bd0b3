package server

import (
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// failedStream is a stream that has failed before anybody asks.
type failedStream struct{ pipeStream }

func (s failedStream) AfterFailure(f func()) func() bool {
	f()
	return func() bool { return true }
}

// witness is a connection whose end can be seen.
type witness struct{ net.Conn }

// TestNothingIsHeldForStreamsThatFailed: an application that resets what it has just opened leaves
// nothing behind, or ten seconds of such streams would be held, beside every limit.
func TestNothingIsHeldForStreamsThatFailed(t *testing.T) {
	const streams = 50
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	var seen [streams]weak.Pointer[witness]
	for i := range seen {
		app, far := net.Pipe()
		app.Close()
		w := &witness{far}
		p.connect(failedStream{pipeStream{w}})
		seen[i] = weak.Make(w)
	}
	for end := time.Now().Add(sentTime / 2); ; time.Sleep(10 * time.Millisecond) {
		runtime.GC()
		held := 0
		for _, w := range seen {
			if w.Value() != nil {
				held++
			}
		}
		// A timer that was stopped may stay with a processor that has nothing to do, with what it
		// would have ended: one of them, at most, for each.
		if held <= runtime.GOMAXPROCS(0) {
			return
		} else if time.Now().After(end) {
			t.Fatalf("%d of %d streams that have failed are held when their CONNECTs are over", held, streams)
		}
	}
}

// TestDoorsAreOfTheShare: a published port takes one of the descriptors that its client may have,
// at however many addresses it is published, and gives it back.
func TestDoorsAreOfTheShare(t *testing.T) {
	port := freePort(t)
	s := testServer(t, func(c *conf.Server) {
		c.Clients = []conf.Peer{{Name: "laptop", Publish: []conf.PortRange{{From: port, To: port}}}}
	}, nil)
	s.sockets.most = 8
	p := newPeer(s, "laptop", newFakeSession())
	opened := 0
	for at := netip.MustParseAddr("127.0.0.1"); opened < 8; at = at.Next() {
		request := (&packet.Publish{Protocol: packet.ProtocolTCP, At: netip.AddrPortFrom(at, port)}).Append(nil)
		if _, code := publishAs(t, p, request); code == packet.PublishFailed {
			break
		} else if code != packet.PublishOK {
			t.Fatalf("port at %v: %d", at, code)
		}
		opened++
	}
	if opened == 0 || opened > 4 {
		t.Errorf("one client has %d ports open where half of eight descriptors are its share", opened)
	}
	s.publishing.close()
	if n := s.sockets.count(); n != 0 {
		t.Errorf("%d descriptors are still counted", n)
	}
}

// TestWaitingAtAPortIsCharged: streams that wait at a published port, or for leave to have one, are
// memory of their session, as CONNECTs are.
func TestWaitingAtAPortIsCharged(t *testing.T) {
	port := freePort(t)
	s := testServer(t, func(c *conf.Server) {
		c.Clients = []conf.Peer{{Name: "laptop", Publish: []conf.PortRange{{From: port, To: port}}}}
	}, nil)
	f := newFakeSession()
	p := newPeer(s, "laptop", f)
	const streams = 12
	var apps []net.Conn
	for i := range streams {
		at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
		if i%2 == 1 {
			at = netip.AddrPortFrom(at.Addr(), port-1)
		}
		app, _ := publishAs(t, p, (&packet.Publish{Protocol: packet.ProtocolTCP, At: at}).Append(nil))
		apps = append(apps, app)
	}
	charged := func() int64 {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.beside
	}
	eventually(t, "the session is charged with all", func() bool { return charged() >= streams*exitMemory })
	for _, app := range apps {
		app.Close()
	}
	eventually(t, "nothing is charged when they are gone", func() bool { return charged() < exitMemory })
}

// TestAPublishedAddressIsNoOther: a UDP port that is published at one address of the machine does
// not let clients send to the same port of its other addresses, which another program may have.
func TestAPublishedAddressIsNoOther(t *testing.T) {
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	port := freePort(t)
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	m, err := p.nat.bind(netip.AddrPortFrom(packet.ClientHost4, 4000), at, nil)
	if err != nil {
		t.Fatal(err)
	}
	other := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port)
	if s.outlet.hairpin(other) || !s.outlet.hairpin(at) {
		t.Errorf("may be sent to: where it is %v, elsewhere %v", s.outlet.hairpin(at), s.outlet.hairpin(other))
	}
	p.nat.unbind(m)
	if s.outlet.hairpin(at) {
		t.Error("a port that is closed may still be sent to")
	}
}
