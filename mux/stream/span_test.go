package stream

import (
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// A window has room for what comes in a round trip of the farthest path, though the nearest one's is
// what a stream measures: else the nearest path alone fills it, and the others carry nothing.
func TestStreamWindowSpansTheFarthestPath(t *testing.T) {
	const rate, trip = 25e6, 8 * time.Millisecond // bytes a second; there and back
	for _, c := range []struct {
		span time.Duration
		want int // what comes in it is between a quarter and a half of this
	}{{0, 2 * initialWindow}, {trip, 2 * initialWindow}, {40 * time.Millisecond, 8 * initialWindow}} {
		synctest.Test(t, func(t *testing.T) {
			p := newPipe(t, false, 10)
			p.server.SetSpan(int64(c.span))
			delay := func(d time.Duration) {
				for _, e := range p.ends {
					e.mu.Lock()
					e.delay = d
					e.mu.Unlock()
				}
			}
			delay(trip / 2)
			near, far := p.pair()
			go func() {
				near.Write(make([]byte, 8<<20))
				near.CloseWrite()
			}()
			b := make([]byte, 16<<10)
			for {
				n, err := io.ReadFull(far, b)
				if err != nil {
					break
				}
				time.Sleep(time.Duration(float64(n) / rate * 1e9))
			}
			far.mu.Lock()
			limit := far.limit
			far.mu.Unlock()
			if limit != c.want {
				t.Errorf("where the farthest path takes %v the window is %d, not %d", c.span, limit, c.want)
			}
			delay(0)
			far.Close()
			near.Close()
			p.empty()
		})
	}
}

// A window grows when the peer has stopped at its edge and half of it lies beyond a gap, whatever is
// read in a round trip; not when the peer has not stopped, nor on a short way.
func TestStreamWindowGrowsByWhatLiesBeyondAGap(t *testing.T) {
	for _, c := range []struct {
		name    string
		rtt     int64
		beyond  uint64
		stopped bool
		want    int
	}{
		{"half of it and a stop", 2 * shortWay, initialWindow / 2, true, 2 * initialWindow},
		{"less", 2 * shortWay, initialWindow/2 - 1, true, initialWindow},
		{"no stop", 2 * shortWay, initialWindow / 2, false, initialWindow},
		{"a short way", shortWay, initialWindow / 2, true, initialWindow},
	} {
		p := newPipe(t, false, 10)
		near, far := p.pair()
		far.mu.Lock()
		far.received += initialWindow // and is read
		far.meter.rtt, far.beyond = c.rtt, c.beyond
		far.growWindow(c.stopped)
		limit := far.limit
		far.mu.Unlock()
		if limit != c.want {
			t.Errorf("%s: the window is %d, not %d", c.name, limit, c.want)
		}
		near.Reset()
		far.Reset()
	}
}

// A window grows when the peer has stopped at its edge though nearly all is read: on a busy machine a
// round trip takes several times what the shortest one did, and a half of the window was never read in that.
func TestStreamWindowGrowsWhereAllIsLate(t *testing.T) {
	const part = initialWindow / 2 / lateTrips
	for _, c := range []struct {
		name    string
		rtt     int64
		product uint64 // read in the shortest round trip
		unread  int
		stopped bool
		want    int
	}{
		{"a stop", 2 * shortWay, part, 0, true, 2 * initialWindow},
		{"the reader is what is late", 2 * shortWay, part, initialWindow / 4, true, initialWindow},
		{"next to nothing comes", 2 * shortWay, part - 1, 0, true, initialWindow},
		{"no stop", 2 * shortWay, part, 0, false, initialWindow},
		{"a short way", shortWay, part, 0, true, initialWindow},
	} {
		p := newPipe(t, false, 10)
		near, far := p.pair()
		far.mu.Lock()
		far.received += initialWindow // and is read, but for
		far.unread = c.unread
		far.meter.rtt, far.meter.product = c.rtt, c.product
		far.growWindow(c.stopped)
		limit := far.limit
		far.unread = 0
		far.mu.Unlock()
		if limit != c.want {
			t.Errorf("%s: the window is %d, not %d", c.name, limit, c.want)
		}
		near.Reset()
		far.Reset()
	}
}
