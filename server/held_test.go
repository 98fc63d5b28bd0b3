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
	s := testServer(t, nil, nil)
	p := newPeer(s, "laptop", newFakeSession())
	seen := func() weak.Pointer[witness] {
		app, far := net.Pipe()
		app.Close()
		w := &witness{far}
		p.connect(failedStream{pipeStream{w}})
		return weak.Make(w)
	}()
	for end := time.Now().Add(sentTime / 2); seen.Value() != nil; time.Sleep(10 * time.Millisecond) {
		if runtime.GC(); time.Now().After(end) {
			t.Fatal("a stream that has failed is held when its CONNECT is over")
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
