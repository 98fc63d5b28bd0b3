package server

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mpsocks/mpsocks/conf"
)

// TestBrake bounds new destinations and refusals, and lets go again in time.
func TestBrake(t *testing.T) {
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 80)
	}
	synctest.Test(t, func(t *testing.T) {
		var b brake
		for i := range 1000 {
			if !b.admits(at(i)) {
				t.Fatal("braked though it is off")
			}
		}
		b.set(&conf.ServerLimits{DestinationsPerSecond: 2})
		count := func() (n int) {
			for i := range 1000 {
				if b.admits(at(i)) {
					n++
				}
			}
			return n
		}
		if n := count(); n != 2*brakeBurst {
			t.Errorf("%d new destinations at once", n)
		}
		if n := count(); n != 2*brakeBurst {
			t.Errorf("%d of those that were reached are still", n)
		}
		time.Sleep(5 * time.Second)
		if n := count(); n != 2*brakeBurst+10 {
			t.Errorf("%d after five seconds", n)
		}

		b = brake{}
		b.set(&conf.ServerLimits{RefusalsPerSecond: 1})
		for i := range 100 {
			if ok := b.admits(at(i)); ok != (i < brakeBurst) {
				t.Fatalf("destination %d after as many refusals: %v", i, ok)
			} else if ok {
				b.refused()
			}
		}
		if !b.admits(at(3)) {
			t.Error("a destination that was reached before is new")
		}
		time.Sleep(2 * time.Second)
		if !b.admits(at(200)) {
			t.Error("the brake never lets go")
		}
	})
}

// TestBrakeOfClient: datagrams and CONNECTs of one client count together, and those of
// another one do not.
func TestBrakeOfClient(t *testing.T) {
	s := testServer(t, func(c *conf.Server) { c.Limits.DestinationsPerSecond = 1 }, nil)
	p, q := newPeer(s, "laptop", newFakeSession()), newPeer(s, "phone", newFakeSession())
	remote, to := remoteUDP(t, "127.0.0.1")
	for i := range uint16(brakeBurst) {
		p.Deliver([][]byte{makePacket(inner4(7), netip.AddrPortFrom(to.Addr(), 1000+i), 0, 0, []byte("x"))})
	}
	p.Deliver([][]byte{makePacket(inner4(7), to, 0, 0, []byte("x"))})
	silent(t, remote)
	if diff := cmp.Diff(uint64(1), s.drops.snapshot()["brake"]); diff != "" {
		t.Error(diff)
	}
	ln := listenTCP(t, "127.0.0.1:0")
	app, _ := openStream(t, p)
	if code, _ := askConnect(t, app, 1, "127.0.0.1", portOf(ln), ""); code != 2 {
		t.Errorf("reply %d", code)
	}
	q.Deliver([][]byte{makePacket(inner4(7), to, 0, 0, []byte("y"))})
	read(t, remote)
}

// TestNamedLists: names in the lists stand for many destinations.
func TestNamedLists(t *testing.T) {
	deny := access{deny: allow(t, "smtp", "metadata")}
	open := access{allow: allow(t, "private"), deny: allow(t, "metadata")}
	for _, tt := range []struct {
		rules *access
		at    string
		want  dropReason
	}{
		{&deny, "1.1.1.1:25", dropDenied},
		{&deny, "[2606:4700::1]:25", dropDenied},
		{&deny, "[64:ff9b::1.1.1.1]:25", dropDenied},
		{&deny, "1.1.1.1:587", dropNone},
		{&deny, "168.63.129.16:80", dropDenied},
		{&open, "192.168.1.1:80", dropNone},
		{&open, "[fd12::1]:80", dropNone},
		{&open, "169.254.169.254:80", dropDenied},
		{&open, "[fd00:ec2::254]:80", dropDenied},
		{&open, "127.0.0.1:80", dropRefused},
	} {
		if got := tt.rules.verdict(netip.MustParseAddrPort(tt.at)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.at, got, tt.want)
		}
	}
}
