package server

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// TestVisitsAreShared: strangers at published TCP ports have half of the client's streams,
// one address a quarter of that, and whoever has many gives way to who has few.
func TestVisitsAreShared(t *testing.T) {
	var v visits
	const streams = 64 // 32 visits, 8 of one address
	in := func(from string) (*visit, func() bool) {
		t.Helper()
		here, there := tcpPair(t)
		t.Cleanup(func() { here.Close(); there.Close() })
		x := v.enter(here, netip.MustParseAddr(from), streams)
		return x, func() bool { // whether it was cut
			there.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, err := there.Read(make([]byte, 1))
			e, ok := err.(interface{ Timeout() bool })
			return err == io.EOF || !ok || !e.Timeout()
		}
	}
	first, cut := in("2001:db8:1::1")
	if first == nil || cut() {
		t.Fatal("the first one is refused")
	}
	n := 0
	for i := range 20 { // one house
		a := netip.MustParseAddr("2001:db8:2::").As16()
		a[15] = byte(i)
		if x, _ := in(netip.AddrFrom16(a).String()); x != nil {
			n++
		}
	}
	if n != 8 {
		t.Errorf("one house has %d places", n)
	}
	var all []*visit
	for i := range 100 { // ten addresses, each of which wants ten
		if x, _ := in(netip.AddrFrom4([4]byte{203, 0, 113, byte(i % 10)}).String()); x != nil {
			all = append(all, x)
		}
	}
	if v.all.Len() != streams/visitShare {
		t.Errorf("%d visits of %d", v.all.Len(), streams/visitShare)
	}
	if v.all.Held(gate.Home(netip.MustParseAddr("2001:db8:1::1"))) != 1 || cut() {
		t.Error("who has one connection has lost it to those who have several")
	}
	late, _ := in("198.51.100.1")
	if late == nil {
		t.Error("a newcomer finds no room beside those who have several")
	}
	for range 40 { // this machine's web server speaks for many
		in("::ffff:127.0.0.1")
	}
	if v.all.Len() != streams/visitShare {
		t.Errorf("%d visits of %d", v.all.Len(), streams/visitShare)
	}
	for _, x := range all {
		v.leave(x)
		v.leave(x)
	}
	for x := range v.all.All() {
		v.leave(x)
	}
	if v.all.Len() != 0 {
		t.Errorf("all have left, and %d are there", v.all.Len())
	}
}

// TestVisitsStayCounted: who has its share is refused before anybody has to go for it.
func TestVisitsStayCounted(t *testing.T) {
	var v visits
	enter := func(from string) *visit {
		here, there := tcpPair(t)
		t.Cleanup(func() { here.Close(); there.Close() })
		return v.enter(here, netip.MustParseAddr(from), 16) // 8 visits, 2 of one address
	}
	for range 6 {
		enter("127.0.0.1")
	}
	for range 2 {
		if enter("192.0.2.1") == nil {
			t.Fatal("an address does not get its share")
		}
	}
	if enter("192.0.2.1") != nil {
		t.Error("an address gets more than its share")
	}
	if local := v.all.Held(gate.Home(netip.MustParseAddr("127.0.0.1"))); v.all.Len() != 8 || local != 6 {
		t.Errorf("%d visits, %d of them of this machine: one is not counted any more, and goes on", v.all.Len(), local)
	}
}

// TestVisitsLeaveStreams: silent connections to a published port leave the client streams
// for its own CONNECTs.
func TestVisitsLeaveStreams(t *testing.T) {
	port := freePort(t)
	s := testServer(t, func(c *conf.Server) {
		c.Clients = []conf.Peer{{Name: "laptop", Streams: 16, Publish: []conf.PortRange{{From: port, To: port}}}}
	}, nil)
	p := newPeer(s, "laptop", newFakeSession())
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	for range 8 {
		if _, code := publishAs(t, p, (&packet.Publish{Protocol: packet.ProtocolTCP, At: at}).Append(nil)); code != packet.PublishOK {
			t.Fatal(code)
		}
	}
	for range 8 {
		strangerAt(t, at)
	}
	eventually(t, "the visits have their streams", func() bool { return s.sockets.count() == 8+1 }) // and the port
	more, code := publishAs(t, p, (&packet.Publish{Protocol: packet.ProtocolTCP, At: at}).Append(nil))
	if code != packet.PublishOK {
		t.Fatal(code)
	}
	for range 8 {
		strangerAt(t, at)
	}
	more.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := more.Read(make([]byte, 1)); n > 0 {
		t.Errorf("a ninth visit is let in beside 16 streams: %v", err)
	}
	ln := listenTCP(t, "127.0.0.1:0")
	go func() {
		if c, err := ln.Accept(); err == nil {
			c.Close()
		}
	}()
	connectTo(t, p, ln, "") // of the client's own
}

// strangerAt connects and says nothing.
func strangerAt(t *testing.T, at netip.AddrPort) {
	c, err := net.Dial("tcp", at.String())
	if err == nil { // else it was refused at once
		t.Cleanup(func() { c.Close() })
	}
}
