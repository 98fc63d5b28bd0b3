package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/mux"
)

// An end is either half: *client.Client or *server.Server. All its sockets are
// bound when it is made.
type end interface {
	Run(ctx context.Context) error
	Addrs() []netip.AddrPort
	Snapshot() any
}

// shutdownLimit is how long an end may take to leave after a signal. Both say
// goodbye in well under a second; the limit is for when one does not.
const shutdownLimit = 1900 * time.Millisecond

// openCapture begins a capture file, or none for the empty name.
func openCapture(path string) (*mux.Capture, error) {
	if path == "" {
		return nil, nil
	}
	return mux.NewCapture(path)
}

// runEnd serves the end and its admin address until ctx ends or one of the two
// fails. The capture, if any, is closed last.
func runEnd(ctx context.Context, e end, adminAddr netip.AddrPort, capture *mux.Capture, log zerolog.Logger) error {
	// A half outlives its terminal, and whoever read its log: a log line that
	// nobody can read must not end it.
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	served, err := admin.Listen(adminAddr, e.Snapshot)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.Run(ctx) })
	group.Go(func() error { return served.Run(ctx) })
	if served != nil {
		log.Info().Str("address", served.Addr().String()).Msg("admin: /status /metrics /healthz")
	}

	done := make(chan error, 1) // one slot, so that the waiter ends also when nobody listens
	go func() { done <- group.Wait() }()
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done:
		case <-time.After(shutdownLimit):
			err = fmt.Errorf("the shutdown took over %v and was cut short", shutdownLimit)
		}
	}
	if capture != nil {
		if closed := capture.Close(); err == nil {
			err = closed
		}
	}
	if errors.Is(err, context.Canceled) {
		err = nil // that is how a signal ends it
	}
	if err == nil {
		log.Info().Msg("stopped")
	}
	return err
}
