package mux

import (
	"bytes"
	"net"
	"testing"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/handshake"
)

// A server that ends each session as soon as it is there does not fill the client's log.
func TestLinesOfSessions(t *testing.T) {
	var said bytes.Buffer
	n := newLoopTunnel(t, 1, 1, nil)
	if err := n.client.Session().Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.stopC()
	<-n.clientDone
	n.client.cfg.Log = zerolog.New(&said).Level(zerolog.InfoLevel)
	const sessions = 300
	for range sessions {
		near, far := net.Pipe()
		done := make(chan error, 1)
		go func() {
			first, err := handshake.ReadFirst(far)
			if err == nil {
				_, err = handshake.AcceptCapable(far, &first, handshake.NewKey(), false)
			}
			done <- err
		}()
		if _, err := n.client.paths[0].establish(near, nil); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		near.Close()
		far.Close()
	}
	if n := bytes.Count(said.Bytes(), []byte("session established")); n == 0 || n > sessions/2 {
		t.Errorf("%d lines", n)
	}
}
