package mux

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/durable"
	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
)

// A billing month begins on its day, or on the last day of a month that has none.
func TestBillingMonth(t *testing.T) {
	at := func(y int, m time.Month, d, h int) time.Time { return time.Date(y, m, d, h, 0, 0, 0, time.UTC) }
	for _, tt := range []struct {
		now         time.Time
		day         int
		begin, next time.Time
	}{
		{at(2026, 11, 26, 3), 0, at(2026, 11, 1, 0), at(2026, 12, 1, 0)},
		{at(2026, 11, 4, 23), 5, at(2026, 10, 5, 0), at(2026, 11, 5, 0)},
		{at(2026, 11, 5, 0), 5, at(2026, 11, 5, 0), at(2026, 12, 5, 0)},
		{at(2026, 2, 27, 1), 31, at(2026, 1, 31, 0), at(2026, 2, 28, 0)},
		{at(2026, 2, 28, 1), 31, at(2026, 2, 28, 0), at(2026, 3, 31, 0)},
		{at(2026, 1, 1, 1), 5, at(2025, 12, 5, 0), at(2026, 1, 5, 0)},
	} {
		if b := billingMonth(tt.now, tt.day, 0); !b.Equal(tt.begin) {
			t.Errorf("%v, day %d: began %v, want %v", tt.now, tt.day, b, tt.begin)
		}
		if n := billingMonth(tt.now, tt.day, 1); !n.Equal(tt.next) {
			t.Errorf("%v, day %d: next %v, want %v", tt.now, tt.day, n, tt.next)
		}
	}
}

// What a path has carried, and that its cap is reached, outlives the client.
func TestUsageOutlivesTheClient(t *testing.T) {
	file := filepath.Join(t.TempDir(), "usage.json")
	var clock fakeClock
	capped := func(c *ClientConfig, _ *ListenerConfig) {
		clock.use(c)
		c.UsageFile = file
		c.Paths[0].Backup = true // path1 is used as long as it may be
		c.Paths[1].MonthlyCap = 80_000
	}
	first := newLoopTunnel(t, 2, 2, capped)
	first.send(400, 10000, 200, nil)
	first.near.wait(t, 400)
	eventually(t, "the cap is reached", func() bool {
		first.client.checkCaps(clock.now())
		return pathAt(first.client.Session(), 1).Capped
	})
	carried := first.client.Reports()[1].Month
	first.client.keepUsage(true)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}

	second, err := NewClient(first.client.cfg)
	if err != nil {
		t.Fatal(err)
	}
	k := second.meter.counts["path1"]
	if k == nil || k.month.bytes < carried || k.reached(&first.client.cfg.Paths[1]) != "monthly" {
		t.Errorf("after a restart %+v, not the %d bytes that were carried", k, carried)
	}
}

// How much silence a path bears is known when it comes back, and after a restart.
func TestKeepAliveOutlivesThePath(t *testing.T) {
	file := filepath.Join(t.TempDir(), "usage.json")
	n := newLoopTunnel(t, 2, 1, func(c *ClientConfig, _ *ListenerConfig) { c.UsageFile = file })
	paths := n.client.cfg.Paths
	second := func() (p *engine.Path) {
		n.client.Session().enter(func(e *engine.Engine, _ int64) { p = e.Paths()[1] })
		return p
	}
	known := func() (ns int64) {
		p := second()
		n.client.Session().enter(func(*engine.Engine, int64) { ns = p.KeepAlive() })
		return ns
	}
	first := known()
	const borne = 41e9
	if first == borne {
		t.Fatal("it is known from the beginning")
	}
	p := second()
	n.client.Session().enter(func(*engine.Engine, int64) { p.SetKeepAlive(borne) })
	n.client.SetPaths(paths[:1])
	n.client.SetPaths(paths)
	if ns := known(); second() == p || ns != borne {
		t.Errorf("a path that is back is asked every %d s", ns/1e9)
	}
	if err := n.client.meter.usage.Keep(n.client.meter.records()); err != nil {
		t.Fatal(err)
	}
	after, err := NewClient(n.client.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if k := after.meter.counts[paths[1].Name]; k == nil || k.keep != borne {
		t.Errorf("after a restart %+v", k)
	}
	if k := after.meter.counts[paths[0].Name]; k == nil || k.keep != first {
		t.Errorf("of the other path %+v", k)
	}
}

// Headers and what TCP sent again are on the bill.
func TestOverhead(t *testing.T) {
	r := carrier.Report{Packets: 10, Again: 5}
	for at, want := range map[string]uint64{"192.0.2.1:443": 525, "[2001:db8::1]:443": 725} {
		f := &subflow{remote: netip.MustParseAddrPort(at), carrier: new(counted)}
		if got := f.overheadOf(&r); got != want {
			t.Errorf("to %s %d bytes, want %d", at, got, want)
		}
		before := f.octets()
		f.overhead.Store(want)
		if f.octets() != before+want {
			t.Error("they are not counted")
		}
	}
}

// What somebody else may have written, behind a link, is not believed.
func TestUsageFileOfOthers(t *testing.T) {
	dir := t.TempDir()
	theirs, file := filepath.Join(dir, "theirs"), filepath.Join(dir, "usage.json")
	if err := os.WriteFile(theirs, []byte(`{"paths": {}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(theirs, file); err != nil {
		t.Skip(err)
	}
	u := durable.Record{Path: file, Limit: usageLimit}
	if err := loadUsage(&u, map[string]*capCount{}); err == nil {
		t.Error("a link is followed")
	}
}

// A file that is not ours begins the count anew, and is replaced.
func TestUsageFileDamaged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "usage.json")
	for _, body := range []string{"", "{", `{"paths": {"a": {"day": "yesterday"}}}`, `[1]`} {
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		u := durable.Record{Path: file, Limit: usageLimit}
		if err := loadUsage(&u, map[string]*capCount{}); err == nil {
			t.Errorf("%q is read without an error", body)
		}
		c := &Client{cfg: ClientConfig{clock: time.Now, Log: zerolog.Nop()}}
		c.meter = meter{counts: map[string]*capCount{"a": {day: count{span: span{time.Now(), 7}}, month: count{span: span{time.Now(), 7}}}}, usage: u, worn: retireBytes}
		c.keepUsage(true)
		got := map[string]*capCount{}
		if err := loadUsage(&u, got); err != nil || got["a"] == nil || got["a"].day.bytes != 7 {
			t.Errorf("after %q: %v, %v", body, got, err)
		}
	}
}
