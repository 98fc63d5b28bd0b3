package mux

import (
	"context"
	"crypto/ed25519"
	"testing"

	"github.com/rs/zerolog"
)

// A client that goes as soon as its session is there, while the server still greets it,
// leaves no session behind: its goodbye arrives.
func TestShortSessionsEnd(t *testing.T) {
	n := newLoopTunnel(t, 1, 1, func(_ *ClientConfig, l *ListenerConfig) {
		l.Accept = func(*Session) (Handler, error) { return newCollector(), nil }
		l.MaxSessionsPerClient = 1000
	})
	for range 200 {
		c, err := NewClient(ClientConfig{
			Key: n.key, ServerKey: n.serverKey.Public().(ed25519.PublicKey), Addresses: []string{n.addr.String()},
			Paths: []Path{{Name: "a", Subflows: 1}}, Handler: newCollector(), Log: zerolog.Nop(),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		if err := c.Session().Ready(ctx); err != nil {
			t.Error(err)
		}
		stop()
		<-done
	}
	eventually(t, "only the tunnel's own session is left", func() bool { return len(n.listener.Sessions()) == 1 })
}
