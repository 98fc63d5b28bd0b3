package server

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// A deadStream notes when it is reset.
type deadStream struct {
	fakeStream
	reset func()
}

func (s deadStream) Reset() { s.reset() }

// at counts what happens at each moment.
type at struct {
	mu sync.Mutex
	n  map[time.Time]int
}

func (a *at) note() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n == nil {
		a.n = make(map[time.Time]int)
	}
	a.n[time.Now()]++
}

// sum is how often in all, and at most at one moment.
func (a *at) sum() (all, most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.n {
		all, most = all+n, max(most, n)
	}
	return all, most
}

// TestTheKernelIsAskedInPortions: each of thousands of CONNECTs is asked about once a second, a
// few at a time, also while others come and go, and what is counted goes with them.
func TestTheKernelIsAskedInPortions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked at
		table := exits{holds: func(tcpio.Socket) int64 { asked.note(); return 1000 }}
		table.share.Store(1 << 30)
		ctx, cancel := context.WithCancel(t.Context())
		f := newFakeSession()
		p, c := &peer{session: f}, new(client)
		var all []*exit
		add := func() {
			e := newExit(ctx, p, c, nil)
			e.target.Store(new(tcpio.Socket(new(net.TCPConn))))
			table.add(e, 0)
			all = append(all, e)
		}
		const streams = 3000
		for range streams {
			add()
		}
		go table.countMemory(ctx, func() []*peer { return []*peer{p} })
		time.Sleep(2*kernelEvery + time.Millisecond)
		if n, most := asked.sum(); n != 2*streams || most > 100 {
			t.Errorf("in two seconds the kernel was asked %d times about %d CONNECTs, %d times at once", n, streams, most)
		}
		f.mu.Lock()
		beside := f.beside
		f.mu.Unlock()
		if want := int64(streams * (exitMemory + 1000)); beside != want || c.kernel.Load() != streams*1000 {
			t.Errorf("the session is charged with %d bytes of %d, the client with %d", beside, want, c.kernel.Load())
		}
		for i := range streams { // half of them go while they are asked about, and others come
			if i%2 == 0 {
				table.remove(all[i])
				add()
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * kernelEvery)
		if n := c.kernel.Load(); n != streams*1000 {
			t.Errorf("the client is charged with %d bytes for %d CONNECTs", n, streams)
		}
		cancel()
		synctest.Wait()
		for len(table.all) > 0 {
			table.remove(table.all[len(table.all)/2])
		}
		if c.kernel.Load() != 0 || p.beside.Load() != 0 {
			t.Errorf("%d and %d bytes are left of CONNECTs that are over", c.kernel.Load(), p.beside.Load())
		}
	})
}

// TestCONNECTsEndInPortions: those of a session end a few at a time, and what comes after its end
// ends at once.
func TestCONNECTsEndInPortions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{}
		s.ctx = t.Context()
		s.roll.open(new(conf.Server), nil)
		p, other := newPeer(s, "laptop", newFakeSession()), newPeer(s, "phone", newFakeSession())
		var ended, none at
		const streams = 500
		for range streams {
			s.exits.add(newExit(p.ctx, p, p.client, deadStream{reset: ended.note}), 0)
			s.exits.add(newExit(other.ctx, other, other.client, deadStream{reset: none.note}), 0)
		}
		p.cancel(net.ErrClosed)
		time.Sleep(time.Second)
		all, most := ended.sum()
		if beside, _ := none.sum(); all != streams || most > 16 || beside > 0 {
			t.Errorf("%d of %d have ended, %d at once, and %d of another session", all, streams, most, beside)
		}
		s.exits.add(newExit(p.ctx, p, p.client, deadStream{reset: ended.note}), 0)
		if n, _ := ended.sum(); n != streams+1 {
			t.Error("one that came after the end goes on")
		}
		other.cancel(net.ErrClosed)
		time.Sleep(time.Second)
	})
}
