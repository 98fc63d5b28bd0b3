package server

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"

	"github.com/mpsocks/mpsocks/conf"
)

// uplinkWith makes an interface up0 in a network of the test's own, with addresses, and returns what runs ip there.
func uplinkWith(t *testing.T, addrs ...string) (run func(string)) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, for a network of its own")
	}
	runtime.LockOSThread() // for good: the thread ends with the test, in that network
	if _, err := netns.New(); err != nil {
		t.Skipf("no network of its own: %v", err)
	}
	run = func(do string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(do)...).CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
			t.Skip(err)
		} else if err != nil {
			t.Fatalf("ip %s: %v: %s", do, err, out)
		}
	}
	run("link set lo up")
	run("link add up0 type veth peer name isp0")
	run("link set up0 up")
	for _, a := range addrs {
		run("addr add " + a + " dev up0 nodad")
	}
	return run
}

// reread has it know what there is by now.
func (e *egress) reread() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.refresh()
}

// TestEgressOfSeveralAddresses: of an interface's addresses the one counts by which others are reached.
func TestEgressOfSeveralAddresses(t *testing.T) {
	run := uplinkWith(t, "169.254.3.4/16", "192.0.2.1/24")
	e, err := newEgress("up0")
	want := func(v4 bool, addr string) {
		t.Helper()
		if err := e.reread(); err != nil {
			t.Fatal(err)
		}
		if got, err := e.local(v4); err != nil || got.String() != addr {
			t.Errorf("it leaves from %v, %v, and not from %s", got, err, addr)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	want(true, "192.0.2.1")
	run("addr add 198.51.100.7/24 dev up0")
	want(true, "192.0.2.1") // the new one is no better
	run("addr add fd00:1::1/64 dev up0 nodad")
	want(false, "fd00:1::1")
	run("addr add 2001:db8:1::1/64 dev up0 nodad")
	want(false, "2001:db8:1::1")
	run("addr add 2001:db8:2::1/64 dev up0 nodad")
	want(false, "2001:db8:1::1")
	run("addr change 2001:db8:1::1/64 dev up0 preferred_lft 0")
	want(false, "2001:db8:2::1")
	run("addr del 2001:db8:2::1/64 dev up0")
	want(false, "2001:db8:1::1") // better than none that reaches others
}

// TestEgressMoves: when the interface that all leaves by has another address, as after each reconnection of
// many lines, flows go on from that one.
func TestEgressMoves(t *testing.T) {
	run := uplinkWith(t, "192.0.2.1/24")
	s := testServer(t, func(c *conf.Server) { c.Relay.Bind = "up0" }, nil)
	p := newPeer(s, "laptop", newFakeSession())
	remote, at := remoteUDP(t, "127.0.0.1")
	from := func(want string) {
		t.Helper()
		p.Deliver([][]byte{makePacket(inner4(1), at, 0, 0, []byte("x"))})
		if _, addr := read(t, remote); addr.Addr().String() != want {
			t.Errorf("a datagram left from %v, and not from %s", addr, want)
		}
	}
	from("192.0.2.1")
	run("addr del 192.0.2.1/24 dev up0")
	if err := s.outlet.egress.reread(); err == nil {
		t.Error("an interface without an address has one")
	}
	run("addr add 192.0.2.9/24 dev up0")
	if err := s.outlet.egress.reread(); err != nil {
		t.Fatal(err)
	}
	new(departures).look(&s.outlet, s.roll.list)
	from("192.0.2.9")
	from("192.0.2.9")
	if n := p.nat.count(); n != 1 {
		t.Errorf("%d mappings", n)
	}
}
