package mux

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/durable"
	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/muxtest"
)

// What is counted is forgotten when the day or the month turns.
func TestCapCount(t *testing.T) {
	at := func(month time.Month, day, hour int) time.Time {
		return time.Date(2026, month, day, hour, 0, 0, 0, time.UTC)
	}
	p := &Path{DailyCap: 100, MonthlyCap: 250}
	var k capCount
	for _, step := range []struct {
		now  time.Time
		n    uint64
		want string
	}{
		{at(1, 29, 10), 99, ""},
		{at(1, 29, 23), 1, "daily"},
		{at(1, 30, 0), 0, ""},
		{at(1, 30, 1), 100, "daily"},
		{at(1, 31, 0), 49, ""},
		{at(1, 31, 1), 1, "monthly"},
		{at(2, 1, 0), 0, ""},
		{at(2, 1, 1), 100, "daily"},
		{at(2, 2, 0), 0, ""},
	} {
		if k.add(step.now, step.n); k.reached(p) != step.want {
			t.Errorf("%v: reached %q, want %q", step.now, k.reached(p), step.want)
		}
	}
	if k.reached(&Path{}) != "" {
		t.Error("reached a cap that there is not")
	}
}

// A clock that is wrong for a while does not forget what was carried, in either direction,
// and over a restart: routers without a clock of their own begin in the past.
func TestCapCountOutlivesAWrongClock(t *testing.T) {
	right := time.Date(2026, 11, 30, 12, 0, 0, 0, time.Local)
	for _, wrong := range []time.Time{
		right.Add(-24 * time.Hour), right.Add(24 * time.Hour), time.Unix(0, 0), right.AddDate(0, -1, 0), right.AddDate(80, 0, 0),
	} {
		var k capCount
		k.add(right.AddDate(0, -1, -1), 5)
		k.add(right, 1000)
		for range 3 {
			k.add(wrong, 1)
			u := durable.Record{Path: filepath.Join(t.TempDir(), "usage.json"), Limit: usageLimit}
			if err := u.Keep(usageFormat{Paths: map[string]usageRecord{"lte": k.record()}}); err != nil {
				t.Fatal(err)
			}
			counts := map[string]*capCount{}
			if err := loadUsage(&u, counts); err != nil || counts["lte"] == nil {
				t.Fatal(err)
			}
			k = *counts["lte"]
			k.add(right.Add(time.Hour), 10)
		}
		if k.month.bytes < 1030 || k.day.bytes < 1030 || k.month.bytes > 1033 {
			t.Errorf("with %v for a while: %d bytes of the day and %d of the month are known", wrong, k.day.bytes, k.month.bytes)
		}
		k.add(right.AddDate(0, 0, 1), 1)
		if k.month.bytes > 4 || k.day.bytes > 4 {
			t.Errorf("the next month, after %v for a while, begins with %d and %d bytes", wrong, k.day.bytes, k.month.bytes)
		}
	}
}

// When the day of the bill is changed in the midst of a month, what is known of that month
// counts on, in a running client and over a restart; a month that is over does not.
func TestBillingDayChanges(t *testing.T) {
	now := time.Date(2026, 3, 20, 12, 0, 0, 0, time.Local)
	for _, days := range [][2]int{{0, 15}, {15, 0}, {1, 31}, {31, 1}, {25, 31}} {
		for _, restart := range []bool{false, true} {
			k := capCount{billing: days[0]}
			k.add(now, 1000)
			if restart {
				counts := map[string]*capCount{}
				u := durable.Record{Path: filepath.Join(t.TempDir(), "usage.json"), Limit: usageLimit}
				if err := u.Keep(usageFormat{Paths: map[string]usageRecord{"lte": k.record()}}); err != nil {
					t.Fatal(err)
				}
				if err := loadUsage(&u, counts); err != nil {
					t.Fatal(err)
				}
				k = *counts["lte"]
			}
			k.billing = days[1]
			k.add(now.Add(time.Hour), 10)
			if k.month.bytes != 1010 {
				t.Errorf("from day %d to day %d (restart: %v): %d bytes of the month are known, not 1010", days[0], days[1], restart, k.month.bytes)
			}
			k.add(now.AddDate(0, 0, 32), 1)
			if k.month.bytes != 1 {
				t.Errorf("from day %d to day %d: the month after begins with %d bytes", days[0], days[1], k.month.bytes)
			}
		}
	}
	k := capCount{billing: 1}
	k.add(now, 1000)
	k.billing = 15
	k.add(now.AddDate(0, 1, 0), 10) // changed while it was off
	if k.month.bytes != 10 {
		t.Errorf("%d bytes of a month that was over count on", k.month.bytes-10)
	}
}

// A fakeClock is turned by a test.
type fakeClock struct{ ahead atomic.Int64 }

func (f *fakeClock) now() time.Time         { return time.Now().Add(time.Duration(f.ahead.Load())) }
func (f *fakeClock) turn(by time.Duration)  { f.ahead.Add(int64(by)) }
func (f *fakeClock) use(c *ClientConfig)    { c.clock = f.now }
func (f *fakeClock) aMonthLater(c *Client)  { f.turn(32 * 24 * time.Hour); c.checkCaps(f.now()) }
func pathAt(s *Session, i int) PathSnapshot { return s.Snapshot().Paths[i] }
func carriedBy(s *Session, name string) (n uint64) {
	for _, p := range s.Snapshot().Paths {
		if p.Name == name {
			n += p.Sent + p.Received
		}
	}
	return n
}

// subflowsFrom counts the server's subflows from one address.
func (n *loopTunnel) subflowsFrom(a netip.Addr) (count, backup int) {
	for _, s := range n.listener.Sessions() {
		for _, f := range s.Snapshot().Subflows {
			if f.Remote.Addr() == a {
				count++
				if f.Backup {
					backup++
				}
			}
		}
	}
	return count, backup
}

var eventually = muxtest.Eventually

func (c *collector) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.seen)
	c.order = nil
}

// Over its cap a path carries nothing in either direction, and when the month
// turns it is what it was.
func TestCappedPath(t *testing.T) {
	var clock fakeClock
	var said words
	n := newLoopTunnel(t, 2, 2, func(c *ClientConfig, _ *ListenerConfig) {
		clock.use(c)
		c.Log = zerolog.New(&said)
		c.Paths[0].Backup = true // path1 is used as long as it may be
		c.Paths[1].MonthlyCap = 80_000
	})
	s, second := n.client.Session(), netip.AddrFrom4([4]byte{127, 0, 0, 2})
	n.send(400, 10000, 200, nil)
	n.near.wait(t, 400)
	n.client.checkCaps(clock.now())
	if p := pathAt(s, 1); !p.Capped || p.Sent == 0 || p.Received == 0 {
		t.Fatalf("after the cap: %+v", p)
	}
	eventually(t, "the server lost the subflows of the capped path", func() bool { c, _ := n.subflowsFrom(second); return c == 0 })
	n.waitSubflows(2)

	before := carriedBy(s, "path1")
	n.near.forget()
	n.send(500, 1000, 200, nil)
	n.near.wait(t, 500)
	if d := carriedBy(s, "path1") - before; d != 0 {
		t.Errorf("%d bytes went over the capped path", d)
	}
	if c, _ := n.subflowsFrom(second); c != 0 {
		t.Errorf("%d subflows of the capped path", c)
	}

	// Another interface, the same name and bill: what it carried still counts.
	paths := n.client.cfg.Paths
	n.client.SetPaths(paths[:1])
	n.client.SetPaths(paths)
	if p := pathAt(s, 1); !p.Capped {
		t.Error("removed and added again, it is not over its cap any more")
	}
	if n.client.checkCaps(clock.now()); len(s.Snapshot().Subflows) != 2 {
		t.Error("it is used again")
	}

	clock.aMonthLater(n.client)
	n.waitSubflows(4)
	eventually(t, "the server has them, and not as backup", func() bool { c, b := n.subflowsFrom(second); return c == 2 && b == 0 })
	n.near.forget()
	n.send(50, 1000, 200, nil)
	n.near.wait(t, 50)
	if p := pathAt(s, 1); p.Capped || p.Sent == 0 || p.Received == 0 {
		t.Errorf("in the next month: %+v", p)
	}
	if over, under := said.count("reached its monthly cap"), said.count("under its byte cap again"); over != 1 || under != 1 {
		t.Errorf("said %d times that it is over its cap, %d times that it is not", over, under)
	}
}

// The only path is no exception, and one that is metered is still that when its
// day has turned.
func TestOnlyPathCapped(t *testing.T) {
	var clock fakeClock
	n := newLoopTunnel(t, 1, 2, func(c *ClientConfig, _ *ListenerConfig) {
		clock.use(c)
		c.Paths[0].Metered = true
	})
	n.send(300, 10000, 200, nil)
	n.near.wait(t, 300)
	path := n.client.cfg.Paths[0]
	path.DailyCap = 60_000
	n.client.SetPaths([]Path{path}) // live, and what was carried before counts
	n.client.checkCaps(clock.now())
	n.waitSubflows(0)
	n.far.forget()
	n.send(20, 1000, 200, nil)
	time.Sleep(100 * time.Millisecond)
	if lost, _ := n.far.missing(20); lost != 20 {
		t.Errorf("%d of 20 packets went over a capped path", 20-lost)
	}
	clock.turn(24 * time.Hour)
	n.client.checkCaps(clock.now())
	n.waitSubflows(2)
	// What waited has grown stale where the machine took its time.
	eventually(t, "the path carries again", func() bool {
		n.send(1, 100, 200, nil)
		lost, _ := n.far.missing(20)
		return lost < 20
	})
	eventually(t, "the server knows that the path is metered", func() bool {
		c, b := n.subflowsFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
		return c == 2 && b == 2
	})
}

// What a path brings while it is being removed counts for the next of its name.
func TestRemovedPathIsCounted(t *testing.T) {
	s := newSession(sessionConfig{client: true, handler: newCollector()})
	c := &Client{session: s, meter: meter{s: s, log: zerolog.Nop(), counts: make(map[string]*capCount), worn: retireBytes}, cfg: ClientConfig{Log: zerolog.Nop(), clock: time.Now}}
	p, f := countedPath(s)
	carried(f).sent.Store(10)
	c.paths = []*clientPath{p}
	now := time.Now()
	c.countBytes(now)
	c.remove(p)
	c.paths = nil
	carried(f).received.Store(25)
	c.countBytes(now)
	carried(f).received.Store(130)
	s.enter(func(e *engine.Engine, now int64) { e.Detach(f.core, now, 0, f.octets()) }) // as detach does
	c.countBytes(now)
	if k := c.meter.counts["lte"]; k.month.bytes != 140 || len(c.meter.leaving) != 0 {
		t.Errorf("%d bytes counted, %d paths waited for", k.month.bytes, len(c.meter.leaving))
	}
}

// words keeps log lines.
type words struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.Write(p)
}

func (w *words) count(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Count(w.all.Bytes(), []byte(what))
}

// A copy that came before by another path is no news, but it is on the bill.
func TestCapCountsRepeats(t *testing.T) {
	s := newSession(sessionConfig{client: true, handler: newCollector()})
	c := &Client{session: s, meter: meter{s: s, counts: make(map[string]*capCount), worn: retireBytes}}
	p, f := countedPath(s)
	c.paths = []*clientPath{p}
	carried(f).received.Store(1000) // of which rxOctets has nothing
	c.countBytes(time.Now())
	if k := c.meter.counts["lte"]; k.day.bytes != 1000 {
		t.Errorf("%d bytes counted", k.day.bytes)
	}
}

// A counted is a carrier that has carried so many bytes, and does nothing else.
type counted struct {
	carrier.Carrier
	sent, received atomic.Uint64
}

func (c *counted) Carried() (sent, received uint64) { return c.sent.Load(), c.received.Load() }

func (c *counted) Close() {}

// carried is the counted carrier of a subflow.
func carried(f *subflow) *counted { return f.carrier.(*counted) }

// countedPath is a path with one subflow.
func countedPath(s *Session) (*clientPath, *subflow) {
	p := &clientPath{way: Path{Name: "lte"}}
	f := &subflow{s: s, carrier: new(counted)}
	s.enter(func(e *engine.Engine, now int64) {
		p.path = e.AddPath(p.way.config(), -1)
		f.path, f.core = p.path, engine.NewSubflow(f, p.path, 0, now)
		e.Attach(f.core, 0)
	})
	return p, f
}
