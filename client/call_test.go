package client

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
)

// TestOfSocket: an upload that the stream ends is the stream's doing, also where the
// connection that was copied wraps what the stream said.
func TestOfSocket(t *testing.T) {
	app, c := tcpPair(t)
	if _, err := app.Write([]byte("upload")); err != nil {
		t.Fatal(err)
	}
	reset := fmt.Errorf("stream reset by the peer: %w", syscall.ECONNRESET)
	_, err := c.WriteTo(failingStream{reset})
	if !errors.Is(err, reset) || ofSocket(err) {
		t.Errorf("%v is taken for the socket's", err)
	}
	c.Close()
	if _, err = c.WriteTo(failingStream{reset}); !ofSocket(err) {
		t.Errorf("%v is taken for the stream's", err)
	}
}

type failingStream struct{ err error }

func (s failingStream) Write([]byte) (int, error) { return 0, s.err }

// tcpPair returns the two ends of a TCP connection: a program's, and what accepted it.
func tcpPair(t *testing.T) (app net.Conn, accepted *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	app, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { app.Close() })
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return app, conn.(*net.TCPConn)
}
