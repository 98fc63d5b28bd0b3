package tcpio

import (
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/time/rate"
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
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}
