package client

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/status"
)

// lonely is a client with two paths to a server that is not there.
func lonely(t *testing.T, change ...func(*conf.Client)) *Client {
	t.Helper()
	own, err := conf.Generate()
	if err != nil {
		t.Fatal(err)
	}
	server, err := conf.Generate()
	if err != nil {
		t.Fatal(err)
	}
	cfg := conf.DefaultClient()
	cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	cfg.PrivateKey, cfg.RunSocket = own, "off"
	cfg.Server = conf.Remote{Addresses: []string{"127.0.0.1:1"}, PublicKey: server.Public()}
	cfg.Paths = []conf.Path{{Name: "dsl", Bind: "127.0.0.1", Subflows: 1}, {Name: "lte", Bind: "127.0.0.1", Subflows: 1, MonthlyCap: 1 << 30, BillingDay: 5}}
	for _, f := range change {
		f(cfg)
	}
	c, err := New(cfg, zerolog.Nop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return c
}

// onPath returns a path of the status.
func onPath(c *Client, name string) status.Path {
	for _, p := range c.Status().Session.Paths {
		if p.Name == name {
			return p
		}
	}
	return status.Path{}
}

// Why there is no session is said in words, for every path.
func TestStatusSaysWhy(t *testing.T) {
	c := lonely(t)
	eventually(t, "the cause of a dead path", func() bool {
		p := onPath(c, "dsl")
		return p.State == status.Dead && strings.Contains(p.Cause, "refuses connections")
	})
	s := c.Status()
	if s.Ready || len(s.Reasons) < 2 || !strings.Contains(strings.Join(s.Reasons, " "), "dsl: dead for") {
		t.Errorf("ready %v: %q", s.Ready, s.Reasons)
	}
	if u := onPath(c, "lte").Usage; u == nil || u.MonthlyCap != 1<<30 || u.BillingDay != 5 {
		t.Errorf("usage %+v", u)
	}
}

// A path is paused and resumed by hand, but never the last one.
func TestPausePath(t *testing.T) {
	c := lonely(t)
	if err := c.PausePath("lte", true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the path is paused", func() bool {
		return onPath(c, "lte").State == status.Paused && len(c.mux.Reports()) == 1
	})
	if err := c.PausePath("dsl", true); err == nil || !strings.Contains(err.Error(), "only path") {
		t.Errorf("the last path was paused: %v", err)
	}
	if err := c.PausePath("nowhere", true); err == nil {
		t.Error("a path that there is not was paused")
	}
	if err := c.PausePath("lte", false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is used again", func() bool { return len(c.mux.Reports()) == 2 && onPath(c, "lte").State != status.Paused })
}

// What a path has carried, and what is left of its cap, is shown also while it is paused, or its
// interface is not there.
func TestUsageOfPathsThatAreNotThere(t *testing.T) {
	c := lonely(t, func(cfg *conf.Client) {
		cfg.Paths[1].BillingDay = 0
		cfg.Paths = append(cfg.Paths, conf.Path{Name: "stick", Bind: "nosuchdevice0", MonthlyCap: 1000})
		cfg.StateDir = t.TempDir()
		day, month := time.Now().Format(time.DateOnly), time.Now().Format("2006-01")+"-01"
		kept := fmt.Sprintf(`{"paths": {"lte": {"day": %q, "month": %q, "month_bytes": 700}, "stick": {"day": %q, "month": %q, "month_bytes": 900}}}`, day, month, day, month)
		file := filepath.Join(cfg.StateDir, fmt.Sprintf("usage-%x.json", cfg.PrivateKey.Public()[:4]))
		if err := os.WriteFile(file, []byte(kept), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if err := c.PausePath("lte", true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are not there", func() bool {
		return onPath(c, "lte").State == status.Paused && onPath(c, "stick").State == status.Absent && len(c.mux.Reports()) == 1
	})
	for name, want := range map[string]uint64{"lte": 1<<30 - 700, "stick": 100} {
		u := onPath(c, name).Usage
		if left, capped := u.Left(); !capped || left != want || u.Renews.IsZero() {
			t.Errorf("%s: %d left of %+v", name, left, u)
		}
	}
}

// What a path is for can be changed by hand, and status shows it.
func TestChangePathByHand(t *testing.T) {
	c := lonely(t)
	if err := c.SetMetered("lte", true); err != nil {
		t.Fatal(err)
	}
	if err := c.SetBackup("dsl", true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are changed", func() bool { return onPath(c, "lte").Metered && onPath(c, "dsl").Backup })
	if err := c.SetBackup("dsl", false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "and one is not any more", func() bool { return onPath(c, "lte").Metered && !onPath(c, "dsl").Backup })
}

// A flow's class by hand stands before the rules, and is taken back.
func TestClassFlow(t *testing.T) {
	c := lonely(t)
	to := netip.MustParseAddrPort("192.0.2.1:443")
	if err := c.ClassFlow(to, "nonsense"); err == nil {
		t.Error("nonsense is a class")
	}
	for range 3 {
		if err := c.ClassFlow(to, "latency"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.policy.byHand); n != 1 {
		t.Errorf("%d rules for one flow", n)
	}
	if err := c.ClassFlow(to, ""); err != nil || len(c.policy.byHand) != 0 {
		t.Errorf("%v, %d rules are left", err, len(c.policy.byHand))
	}
}

// A CONNECT's destination is read from what the exit is asked, and nothing else is.
func TestAskedFor(t *testing.T) {
	for want, flight := range map[string][]byte{
		"example.com:443":    exitRequest("example.com", netip.Addr{}, 443),
		"192.0.2.1:80":       exitRequest("", netip.MustParseAddr("192.0.2.1"), 80),
		"[2001:db8::1]:8080": exitRequest("", netip.MustParseAddr("2001:db8::1"), 8080),
	} {
		if got := askedFor(append(flight, "data behind it"...)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		for n := range flight {
			if got := askedFor(flight[:n]); got != "" {
				t.Errorf("%d bytes of it are %q", n, got)
			}
		}
	}
}
