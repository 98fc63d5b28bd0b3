package status

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux"
)

func TestWords(t *testing.T) {
	now := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	for want, p := range map[string]Path{
		"up":                           {State: Up},
		"dead for 12 s: no answer":     {State: Dead, Since: now.Add(-12 * time.Second), Cause: "no answer"},
		"resting: dsl is enough":       {State: Resting, Since: now.Add(-time.Hour), Cause: "dsl is enough"},
		"capped: until 1 Dec":          {State: Capped, Cause: "until 1 Dec"},
		"absent for 3 min: no wwan0":   {State: Absent, Since: now.Add(-3 * time.Minute), Cause: "no wwan0"},
		"paused: by hand":              {State: Paused, Cause: "by hand"},
		"joining for 0 s":              {State: Joining, Since: now},
		"dead for 3 days: no route":    {State: Dead, Since: now.Add(-80 * time.Hour), Cause: "no route"},
		"stalled for 0 s: no answer":   {State: Stalled, Since: now.Add(time.Minute), Cause: "no answer"}, // a clock that was set back
		"dead for 119 min: no address": {State: Dead, Since: now.Add(-119 * time.Minute), Cause: "no address"},
	} {
		if got := p.Words(now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What the halves tell each other, by either family, is no program's; what programs ask the
// server's echo, resolver and exit is.
func TestBelongsToTunnel(t *testing.T) {
	for _, tt := range []struct {
		proto, to string
		want      bool
	}{
		{"udp", "198.18.0.1:9", true},
		{"udp", "198.18.0.1:11", true},
		{"udp", "198.18.0.1:12", true},
		{"udp", "198.18.0.1:13", true},
		{"udp", "[fd6d:7073::1]:9", true},
		{"udp", "[fd6d:7073::1]:11", true},
		{"udp", "198.18.0.1:7", false},
		{"udp", "198.18.0.1:53", false},
		{"udp", "198.18.0.1:99", false},
		{"tcp", "198.18.0.1:9", false},
		{"udp", "203.0.113.1:9", false},
		{"udp", "example.com:9", false},
	} {
		if p := (Program{Proto: tt.proto, To: tt.to}); p.BelongsToTunnel() != tt.want {
			t.Errorf("%s to %s: %v", tt.proto, tt.to, !tt.want)
		}
	}
}

func TestLeft(t *testing.T) {
	for _, tt := range []struct {
		u      *Usage
		left   uint64
		capped bool
	}{
		{nil, 0, false},
		{&Usage{Today: 5}, 0, false},
		{&Usage{Today: 5, DailyCap: 7, Month: 100, MonthlyCap: 1000}, 2, true},
		{&Usage{Today: 5, DailyCap: 700, Month: 999, MonthlyCap: 1000}, 1, true},
		{&Usage{Month: 2000, MonthlyCap: 1000}, 0, true},
	} {
		if left, capped := tt.u.Left(); left != tt.left || capped != tt.capped {
			t.Errorf("%+v: %d, %v", tt.u, left, capped)
		}
	}
}

// A program's reason says of every path that it does not use why it does not.
func TestExplain(t *testing.T) {
	p := Program{Class: "latency", Why: "small", Paths: []string{"dsl"}}
	p.Explain([]Path{
		{Name: "dsl", State: Up, RTT: .01},
		{Name: "wifi", State: Up, RTT: .04},
		{Name: "lte", State: Resting, Metered: true},
		{Name: "sat", State: Dead, Cause: "no answer"},
		{Name: "old", State: Up, Backup: true},
	})
	want := "little traffic: fastest path, copies; not wifi: slower, 40 ms; not lte: metered; not sat: dead, no answer; not old: a backup"
	if p.Why != want {
		t.Errorf("%q, want %q", p.Why, want)
	}
	// What it used when the path died is not where it goes.
	p = Program{Class: "latency", Why: "small", Paths: []string{"dsl", "wifi"}}
	p.Explain([]Path{{Name: "dsl", State: Dead, Cause: "no answer"}, {Name: "wifi", State: Up}})
	if want := "little traffic: fastest path, copies; not dsl: dead, no answer"; p.Why != want || len(p.Paths) != 1 || p.Paths[0] != "wifi" {
		t.Errorf("%q over %q, want %q", p.Why, p.Paths, want)
	}
	p = Program{Class: "latency", Why: "small", Paths: []string{"dsl"}}
	p.Explain([]Path{{Name: "dsl", State: Dead}})
	if want := "little traffic: fastest path, copies; it waits for a path"; p.Why != want || len(p.Paths) != 0 {
		t.Errorf("%q over %q, want %q", p.Why, p.Paths, want)
	}
}

// Events are the log's lines of the last hour, bounded, with causes in words.
func TestEvents(t *testing.T) {
	now := time.Now()
	e := Events{Now: func() time.Time { return now }}
	e.Write([]byte(`{"level":"debug","message":"noise"}`))
	e.Write([]byte(`not json`))
	e.Write([]byte(`{"level":"warn","path":"lte","error":"dial tcp: connect: network is unreachable","message":"cannot reach the server"}`))
	e.Write([]byte(`{"level":"info","client":"ann","subflows":2,"message":"session established"}`))
	l := e.List()
	if len(l) != 2 || l[0].Text != "session established (subflows 2)" || l[0].Who != "ann" || l[1].Text != "lte: cannot reach the server (no route to the server)" {
		t.Errorf("%+v", l)
	}
	now = now.Add(eventTime + time.Second)
	if l := e.List(); len(l) != 0 {
		t.Errorf("an hour later: %+v", l)
	}
	for i := range 2 * eventMost {
		fmt.Fprintf(&e, `{"level":"info","message":"%d %s"}`, i, strings.Repeat("x", 1000))
	}
	if l := e.List(); len(l) != eventMost || !strings.HasPrefix(l[0].Text, fmt.Sprint(2*eventMost-1)) || len(l[0].Text) > 310 {
		t.Errorf("%d events, the newest %.20s", len(l), l[0].Text)
	}
	if (*Events)(nil).List() == nil {
		t.Error("no list of no events")
	}
}

// What everybody may see has no addresses, users or destinations.
func TestOpen(t *testing.T) {
	s := &Status{
		Half: Server, Listen: []string{"192.0.2.1:7443"}, Events: []Event{{Text: "192.0.2.2"}}, Programs: []Program{{To: "192.0.2.3:1"}},
		Sessions: []Session{{Server: "192.0.2.4:1", Paths: []Path{{Name: "192.0.2.5", Sent: 7}}, Subflows: []Subflow{{Remote: "192.0.2.6:1"}}, Copied: 9}},
		Clients:  []Peer{{Name: "ann", Error: "from 192.0.2.7"}},
	}
	o := s.Open()
	if text := fmt.Sprintf("%+v", *o); strings.Contains(text, "192.0.2.") {
		t.Error(text)
	}
	if o.Sessions[0].Copied != 9 || o.Sessions[0].Paths[0].Sent != 7 || s.Sessions[0].Paths[0].Name != "192.0.2.5" {
		t.Error("numbers are gone, or the status itself was changed")
	}
}

// A path's figures are its own subflows'; its round trip is that of the best one.
func TestOfPath(t *testing.T) {
	subflow := func(path, state string, rtt, jitter float64, outstanding int) mux.SubflowSnapshot {
		return mux.SubflowSnapshot{Path: path, State: state, RTT: rtt, RTTVar: jitter, Outstanding: outstanding}
	}
	p := mux.PathSnapshot{Name: "dsl", Subflows: 2}
	one := ofPath(p, []mux.SubflowSnapshot{
		subflow("lte", "up", 1, 1, 1000), subflow("dsl", "up", 30, 3, 10), subflow("dsl", "stale", 20, 2, 5),
	})
	if one.Queued != 15 || one.RTT != .020 || one.Jitter != .002 || one.State != Up {
		t.Errorf("%+v", one)
	}
	stalled := ofPath(p, []mux.SubflowSnapshot{subflow("lte", "up", 1, 1, 0), subflow("dsl", "stale", 20, 2, 5), subflow("dsl", "stale", 25, 2, 5)})
	if stalled.State != Stalled || stalled.Cause == "" {
		t.Errorf("%+v", stalled)
	}
	for _, c := range []struct {
		p    mux.PathSnapshot
		want State
	}{
		{mux.PathSnapshot{Capped: true, Subflows: 1}, Capped}, {mux.PathSnapshot{}, Dead}, {mux.PathSnapshot{Subflows: 1, Dark: true}, Dead},
	} {
		if got := ofPath(c.p, nil).State; got != c.want {
			t.Errorf("%+v is %s", c.p, got)
		}
	}
}

// A cap is nearly used up when a tenth of it is left, whatever the other cap has left.
func TestUsageLow(t *testing.T) {
	for _, tt := range []struct {
		use  *Usage
		want bool
	}{
		{nil, false},
		{&Usage{Today: 5, Month: 50}, false},
		{&Usage{DailyCap: 100, MonthlyCap: 10_000}, false},
		{&Usage{DailyCap: 100, Today: 90, MonthlyCap: 10_000, Month: 90}, false},
		{&Usage{DailyCap: 100, Today: 91, MonthlyCap: 10_000, Month: 91}, true},
		{&Usage{DailyCap: 100, Today: 1, MonthlyCap: 10_000, Month: 9_950}, true},
		{&Usage{MonthlyCap: 1000, Month: 2000}, true},
	} {
		if got := tt.use.Low(); got != tt.want {
			t.Errorf("%+v: %v", tt.use, got)
		}
	}
}

// A session whose paths all fail is of no use, however long its subflows are waited for.
func TestSessionWorks(t *testing.T) {
	now := time.Unix(1e9, 0)
	path := func(s State, ago time.Duration) Path { return Path{State: s, Since: now.Add(-ago)} }
	for _, tt := range []struct {
		up    bool
		paths []Path
		want  bool
	}{
		{true, []Path{path(Up, time.Hour)}, true},
		{false, []Path{path(Up, time.Hour)}, false},
		{true, []Path{path(Dead, 2*time.Second)}, true},
		{true, []Path{path(Dead, 10*time.Second)}, false},
		{true, []Path{path(Dead, time.Hour), path(Resting, time.Hour)}, true},
		{true, []Path{path(Dead, time.Hour), path(Capped, time.Hour), path(Absent, time.Hour)}, false},
	} {
		if got := (&Session{Up: tt.up, Paths: tt.paths}).Works(now); got != tt.want {
			t.Errorf("%v %v: %v", tt.up, tt.paths, got)
		}
	}
}
