package admission

import (
	"net"
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

var nopLog = zerolog.Nop()

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// door is where programs connect: what it returns makes a connection, with the program's end
// of it and ours.
func door(t *testing.T) func() (here, there *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return func() (here, there *net.TCPConn) {
		t.Helper()
		return knock(t, ln, "127.0.0.1")
	}
}

// knock connects from an address.
func knock(t *testing.T, ln net.Listener, from string) (here, there *net.TCPConn) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	return conn.(*net.TCPConn), accepted.(*net.TCPConn)
}
