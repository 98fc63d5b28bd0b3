package admin

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/status"
)

// Who asks between two samples is told of now; many that ask cost ten looks a second, no
// point of the curves, and no rate over a moment.
func TestAnswersAreFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards these two
		state, looks := status.Joining, 0
		sent := func() uint64 { return uint64(time.Since(epoch) / time.Millisecond * 1000) }
		r := newRecorder(Config{Half: status.Client, Events: &status.Events{}, Status: func() *status.Status {
			mu.Lock()
			defer mu.Unlock()
			looks++
			return &status.Status{Time: time.Now(), Session: &status.Session{Paths: []status.Path{{Name: "dsl", State: state, Sent: sent()}}}}
		}})
		ctx, cancel := context.WithCancel(t.Context())
		go r.run(ctx)
		time.Sleep(3 * time.Second)
		time.Sleep(150 * time.Millisecond)
		mu.Lock()
		state = status.Up
		mu.Unlock()
		path := r.status().Session.Paths[0]
		if path.State != status.Up {
			t.Errorf("150 ms after a sample the path is still %q", path.State)
		}
		if path.UpBPS != 8_000_000 {
			t.Errorf("it sends %d bit/s of 8,000,000", path.UpBPS)
		}
		mu.Lock()
		before := looks
		mu.Unlock()
		points := len(r.history())
		for range 400 {
			time.Sleep(time.Millisecond)
			r.status()
		}
		mu.Lock()
		if n := looks - before; n > 5 {
			t.Errorf("%d looks in 0.4 s", n)
		}
		mu.Unlock()
		if n := len(r.history()); n != points {
			t.Errorf("the curves have %d points of %d", n, points)
		}
		cancel()
		<-r.ended
	})
}

// epoch is when the time of these tests begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// A path's loss is the share of its segments that went again, however small they are, and nothing
// where there were next to none.
func TestLossIsOfSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct{ pps, size, resent, want float64 }{
			{50, 100, 1, 0.02}, // a call
			{1000, 1400, 10, 0.01},
			{0.1, 60, 0.1, 0},
			{50, 100, 0, 0},
		} {
			began := time.Now()
			r := newRecorder(Config{Half: status.Client, Events: &status.Events{}, Status: func() *status.Status {
				n := func(each float64) uint64 { return uint64(each * time.Since(began).Seconds()) }
				return &status.Status{Time: time.Now(), Session: &status.Session{
					Paths:    []status.Path{{Name: "dsl", State: status.Up}},
					Subflows: []status.Subflow{{Path: "dsl", Sent: n(tt.pps * tt.size), Segments: n(tt.pps), Retransmits: n(tt.resent)}},
				}}
			}})
			ctx, cancel := context.WithCancel(t.Context())
			go r.run(ctx)
			time.Sleep(20*time.Second + time.Millisecond)
			if got := r.status().Session.Paths[0].Loss; math.Abs(got-tt.want) > tt.want/5 {
				t.Errorf("%+v: %.3f", tt, got)
			}
			cancel()
			<-r.ended
		}
	})
}
