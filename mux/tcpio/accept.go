package tcpio

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/mux/lull"
)

// minPause and maxPause are the pauses after connections could not be accepted, and failedEvery is how
// often that is said.
const (
	minPause, maxPause = 5 * time.Millisecond, time.Second
	failedEvery        = time.Minute
)

// AcceptAll has serve take each connection that accept brings, one after the other, until ctx ends or
// the listener is closed, and returns the error that it ended with. Another error, which is want of
// descriptors mostly, passes when other connections end: it goes on after a pause, and failed hears of
// it now and then.
func AcceptAll[C any](ctx context.Context, accept func() (C, error), serve func(C), failed func(error)) error {
	pause, seldom := time.Duration(0), rate.Sometimes{Interval: failedEvery} // it comes and goes
	for {
		c, err := accept()
		if err == nil {
			pause = 0
			serve(c)
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return err
		}
		seldom.Do(func() { failed(err) })
		pause = min(max(2*pause, minPause), maxPause)
		if !lull.Pause(ctx, pause) {
			return err
		}
	}
}

// AcceptFrom has accept bring a connection from an address that may come in; the others are reset as they
// come. What is done with one that has come is a step, which turn calls.
func AcceptFrom[C net.Conn](accept func() (C, error), may func(from netip.Addr) bool, turn func(step func() (more bool))) (c C, err error) {
	for {
		if c, err = accept(); err != nil {
			return c, err
		}
		in := false
		turn(func() bool {
			if in = may(fromOf(c)); !in {
				if l, ok := any(c).(interface{ SetLinger(sec int) error }); ok {
					_ = l.SetLinger(0) // nothing of it stays
				}
				c.Close()
			}
			return true
		})
		if in {
			return c, nil
		}
	}
}

// fromOf is the address that a connection comes from; the zero value for what is none.
func fromOf(c net.Conn) netip.Addr {
	at, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return at.AddrPort().Addr().Unmap().WithZone("")
}
