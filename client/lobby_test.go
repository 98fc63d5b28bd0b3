package client

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/gate"
)

// TestWhoWasNotHeardYetKeepsItsPlace has a connection whose bytes nobody has read when
// many come behind it: on a busy machine hundreds are accepted before the first is read.
func TestWhoWasNotHeardYetKeepsItsPlace(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	l := newLobby(8, 4)
	knock := func(says string) (here, there net.Conn) {
		t.Helper()
		here, err = net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { here.Close() })
		if there, err = ln.Accept(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { there.Close() })
		if says != "" {
			if _, err := here.Write([]byte(says)); err != nil {
				t.Fatal(err)
			}
		}
		return here, there
	}
	_, honest := knock("\x05\x01\x00")
	// Until the kernel has it, without taking it away: what Unread looks at.
	eventually(t, "the bytes are there", func() bool { return gate.Unread(honest) })
	l.enter(honest)
	for range 20 {
		_, there := knock("")
		l.enter(there)
	}
	b := make([]byte, 3)
	if _, err := io.ReadFull(honest, b); err != nil {
		t.Fatalf("one whose bytes nobody has read went before silent ones: %v", err)
	}
	for range 4 { // it has said half of something, and no more comes
		_, there := knock("")
		l.enter(there)
	}
	honest.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := honest.Read(b); err == nil || err.(net.Error).Timeout() {
		t.Errorf("one that says no more keeps its place: %v", err)
	}
}
