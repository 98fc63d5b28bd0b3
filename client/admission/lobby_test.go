package admission

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/muxtest"
)

// TestWhoWasNotHeardYetKeepsItsPlace has a connection whose bytes nobody has read when
// many come behind it: on a busy machine hundreds are accepted before the first is read.
func TestWhoWasNotHeardYetKeepsItsPlace(t *testing.T) {
	knock := door(t)
	l := newLobby(8, 4)
	here, honest := knock()
	if _, err := here.Write([]byte("\x05\x01\x00")); err != nil {
		t.Fatal(err)
	}
	// Until the kernel has it, without taking it away: what Unread looks at.
	muxtest.Eventually(t, "the bytes are there", func() bool { return gate.Unread(honest) })
	l.Enter(honest)
	for range 20 {
		_, there := knock()
		l.Enter(there)
	}
	b := make([]byte, 3)
	if _, err := io.ReadFull(honest, b); err != nil {
		t.Fatalf("one whose bytes nobody has read went before silent ones: %v", err)
	}
	for range 4 { // it has said half of something, and no more comes
		_, there := knock()
		l.Enter(there)
	}
	honest.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := honest.Read(b); err == nil || err.(net.Error).Timeout() {
		t.Errorf("one that says no more keeps its place: %v", err)
	}
}

// TestLobbyShares has one address hold all it can get: the others' connections
// stay, however old.
func TestLobbyShares(t *testing.T) {
	l := newLobby(8, 6)
	enter := func(from string) (*Guest, net.Conn) {
		here, there := net.Pipe()
		t.Cleanup(func() { here.Close() })
		return l.Enter(from2{there, netip.MustParseAddr(from)}), here
	}
	open := func(conn net.Conn) bool {
		conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, err := conn.Read(make([]byte, 1))
		return os.IsTimeout(err)
	}
	_, old := enter("2001:db8:1::1")
	_, greedy := enter("2001:db8:2::1")
	for i := range 20 { // one house, whose computer has many addresses
		enter(fmt.Sprintf("2001:db8:2::%x", i+2))
	}
	if !open(old) {
		t.Error("the modest one has lost its place")
	}
	if open(greedy) {
		t.Error("the oldest of the greedy ones still has its place")
	}
	third, _ := enter("192.0.2.1")
	if in, _ := l.State(); in != 8 {
		t.Errorf("%d are in, want 8", in)
	}
	l.Leave(third)
	l.Leave(third)
	if in, closed := l.State(); in != 7 || closed != 15 {
		t.Errorf("%d are in and %d were closed, want 7 and 15", in, closed)
	}
}

// from2 is a connection with another remote address.
type from2 struct {
	net.Conn
	addr netip.Addr
}

func (f from2) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.addr, 1)) }
