package server

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// countingSession says what it has carried.
type countingSession struct {
	*fakeSession
	sent, received atomic.Uint64
}

func (c *countingSession) Carried() (sent, received uint64) { return c.sent.Load(), c.received.Load() }

// TestQuota: a client that has used its month is told so, nothing of it goes out, and
// what is open ends; another client, and the next month, are free.
func TestQuota(t *testing.T) {
	s := testServer(t, func(c *conf.Server) {
		c.Clients = []conf.Peer{{Name: "laptop", Quota: 1000, Streams: 1}, {Name: "phone"}}
	}, nil)
	sess := &countingSession{fakeSession: newFakeSession()}
	p, q := newPeer(s, "laptop", sess), newPeer(s, "phone", newFakeSession())
	remote, at := remoteUDP(t, "127.0.0.1")
	send := func(p *peer) { p.Deliver([][]byte{makePacket(inner4(7), at, 0, 0, []byte("x"))}) }
	ln := listenTCP(t, "127.0.0.1:0")
	app, _ := connectTo(t, p, ln, "")
	second, _ := openStream(t, p)
	if _, err := second.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("beyond the client's streams: %v", err)
	}

	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.Local)
	sess.sent.Store(600)
	sess.received.Store(399)
	s.account(now)
	send(p)
	_, mapped := read(t, remote)
	if g := sess.next(t); !strings.Contains(string(g.payload), "nine tenths of the quota of 1kB a month are used") {
		t.Errorf("the client was told %q", g.payload)
	}
	if !s.roll.due() {
		t.Error("a crash may forget the whole quota")
	}
	if s.roll.spendings(); s.roll.due() {
		t.Error("it is due when it was just written")
	}
	sess.received.Store(400)
	s.account(now)
	if g := sess.next(t); g.src.Port() != packet.WordPort || !strings.Contains(string(g.payload), "quota of 1kB a month is used up until 1 December") {
		t.Errorf("the client was told %+v %q", g, g.payload)
	}
	if _, err := app.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an open CONNECT: %v", err)
	}
	send(p)
	silent(t, remote)
	if _, err := remote.WriteToUDPAddrPort([]byte("answer"), mapped); err != nil {
		t.Fatal(err)
	}
	sess.quiet(t)
	eventually(t, "the stream has ended", func() bool { return p.client.streams.used.Load() == 0 })
	third, _ := openStream(t, p)
	if code, _ := askConnect(t, third, 1, "127.0.0.1", portOf(ln), ""); code != 2 {
		t.Errorf("reply %d", code)
	}
	send(q)
	read(t, remote)
	for _, c := range s.status().Clients {
		if c.Name == "laptop" && (c.Quota != 1000 || c.Used != 1000 || c.Error == "") {
			t.Errorf("%+v", c)
		}
	}
	// The session's end counts nothing twice, and the next month begins with nothing.
	p.Closed(nil)
	if got := s.roll.used["laptop"].Bytes; got != 1000 && s.roll.used["laptop"].Month == "2026-11" {
		t.Errorf("%d bytes after the session's end", got)
	}
	s.account(now.Add(24 * time.Hour))
	if p.client.over.Load() {
		t.Error("the next month is not free")
	}
}

// TestUsageOutlivesAWrongClock: what a client has used is known again when a clock that
// was wrong for a while is right.
func TestUsageOutlivesAWrongClock(t *testing.T) {
	right := time.Date(2026, 11, 30, 12, 0, 0, 0, time.Local)
	for _, wrong := range []time.Time{right.Add(24 * time.Hour), right.AddDate(0, -1, 0), time.Unix(0, 0), right.AddDate(80, 0, 0)} {
		var u spending
		u.add(7, right.AddDate(0, -2, 0))
		u.add(1000, right)
		for range 3 {
			u.add(1, wrong)
			u.add(10, right)
		}
		if u.Bytes != 1030 {
			t.Errorf("with %v for a while %d bytes are known", wrong, u.Bytes)
		}
		if u.add(1, right.AddDate(0, 0, 1)); u.Bytes > 4 {
			t.Errorf("the next month, after %v for a while, begins with %d bytes", wrong, u.Bytes)
		}
	}
}

// TestUsageIsKept: what was used is known after a restart, and a broken file is no end.
func TestUsageIsKept(t *testing.T) {
	dir := t.TempDir()
	u, known, err := loadUsage(dir)
	if err != nil || known == nil || len(known) != 0 {
		t.Fatalf("%v, %v", known, err)
	}
	if err := u.Keep(map[string]spending{"laptop": {Month: "2026-11", Bytes: 77}}); err != nil {
		t.Fatal(err)
	}
	if _, known, err := loadUsage(dir); err != nil || known["laptop"] != (spending{Month: "2026-11", Bytes: 77}) {
		t.Errorf("%v, %v", known, err)
	}
	path := filepath.Join(dir, usageName)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte(`{"laptop":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, known, err := loadUsage(dir); err == nil || known == nil {
		t.Errorf("a broken file: %v, %v", known, err)
	}
}

// TestQuotaOutlivesARestart: a client whose quota was used before the server was started is
// let nothing through from its first datagram on; the last month's use is nobody's.
func TestQuotaOutlivesARestart(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	u, _, err := loadUsage(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = u.Keep(map[string]spending{
		"laptop": {Month: now.Format(usageMonth), Bytes: 2000},
		"phone":  {Month: now.AddDate(0, 0, -40).Format(usageMonth), Bytes: 2000},
		"tablet": {Month: now.AddDate(0, 0, 40).Format(usageMonth), BeforeMonth: now.Format(usageMonth), Before: 2000}, // the clock was wrong
	})
	if err != nil {
		t.Fatal(err)
	}
	s := testServer(t, func(c *conf.Server) {
		c.StateDir = dir
		c.Clients = []conf.Peer{{Name: "laptop", Quota: 1000}, {Name: "phone", Quota: 1000}, {Name: "tablet", Quota: 1000}}
	}, nil)
	for name, over := range map[string]bool{"laptop": true, "phone": false, "tablet": true} {
		if p := newPeer(s, name, newFakeSession()); p.client.over.Load() != over {
			t.Errorf("%s: its quota is used: %v", name, !over)
		}
	}
	sess := newFakeSession()
	newPeer(s, "laptop", sess)
	s.account(now)
	if g := sess.next(t); !strings.Contains(string(g.payload), "is used up until") {
		t.Errorf("the client was told %q", g.payload)
	}
}
