package tcpio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Where no connection can be accepted it is tried again, ever more seldom until one comes, and said
// once a minute; a listener that is closed and a context that ends are the end.
func TestAcceptAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lacks := &net.OpError{Op: "accept", Err: syscall.EMFILE}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Minute, cancel)
		calls, served, said := 0, 0, 0
		begun := time.Now()
		var gaps []time.Duration
		last := begun
		err := AcceptAll(ctx, func() (int, error) {
			calls++
			gaps, last = append(gaps, time.Since(last)), time.Now()
			if calls == 5 || calls == 6 {
				return calls, nil
			}
			return 0, lacks
		}, func(n int) { served += n }, func(error) { said++ })
		if err != lacks || served != 5+6 || time.Since(begun) != 10*time.Minute {
			t.Errorf("%v after %v, served %d", err, time.Since(begun), served)
		}
		if got, want := fmt.Sprint(gaps[:9]), "[0s 5ms 10ms 20ms 40ms 0s 0s 5ms 10ms]"; got != want {
			t.Errorf("tried after %s, want %s", got, want)
		}
		if calls < 600 || calls > 620 || said < 9 || said > 11 {
			t.Errorf("in ten minutes it was tried %d times, and said %d times", calls, said)
		}
		err = AcceptAll(t.Context(), func() (int, error) { return 0, &net.OpError{Op: "accept", Err: net.ErrClosed} },
			func(int) {}, func(err error) { t.Error(err) })
		if !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}
