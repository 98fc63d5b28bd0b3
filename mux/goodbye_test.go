package mux

import (
	"context"
	"testing"
)

// A client that goes as soon as its session is there, while the server still greets it,
// leaves no session behind: its goodbye arrives.
func TestShortSessionsEnd(t *testing.T) {
	n := newLoopTunnel(t, 1, 1, func(_ *ClientConfig, l *ListenerConfig) {
		l.Accept = func(*Session) (Handler, error) { return newCollector(), nil }
		l.MaxSessionsPerClient = 1000
	})
	for range 200 {
		c := n.another()
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
