package admin

import (
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mpsocks/mpsocks/status"
)

func TestMetrics(t *testing.T) {
	s := start(t, nil)
	code, body := s.get("/metrics", nil)
	for _, want := range []string{
		`mpsocks_build_info{goversion="go1.`,
		`mpsocks_path_sent_bytes_total{path="dsl"} 1000`,
		`mpsocks_path_up{path="dsl"} 1`,
		`mpsocks_path_up{path="lte"} 0`,
		`mpsocks_path_state{path="lte",state="dead"} 1`,
		`mpsocks_path_state{path="lte",state="up"} 0`,
		`mpsocks_path_rtt_seconds{path="dsl"} 0.012`,
		`mpsocks_path_cap_left_bytes{path="lte",period="month"} 1.0737418238e+10`,
		`mpsocks_path_round_trip_seconds_count{path="lte"} 0`,
		`mpsocks_dropped_datagrams_total{reason="header"} 0`,
		`mpsocks_refused_total{reason="password"} 2`,
		`mpsocks_queue_dropped_packets_total{reason="codel"} 3`,
		"mpsocks_ready 1",
		"go_goroutines",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not there", want)
		}
	}
	if code != 200 || strings.Contains(body, "curl") || strings.Contains(body, "40000") {
		t.Errorf("%d, or a program or an ephemeral port is in\n%s", code, body)
	}
	promtool(t, body)
}

func TestMetricsOfAServer(t *testing.T) {
	s := start(t, func(c *Config) {
		c.Half = status.Server
		c.Status = func() *status.Status {
			return &status.Status{
				Clients:  []status.Peer{{Name: "o'hara \"x\"\n", Sessions: 1, Sent: 7, Quota: 100, Used: 9}, {Name: "b\xff"}},
				Sessions: []status.Session{{ID: "1", Peer: "ann", Up: true, Paths: []status.Path{{Name: "192.0.2.1", State: status.Up}}}},
				Connects: map[string]uint64{"connected": 1},
				Gate:     &status.Gate{Waiting: 3, Turned: 4},
				Memory:   &status.Memory{Held: 5, Limit: 6, Cut: 7, Streams: 8},
			}
		}
	})
	_, body := s.get("/metrics", nil)
	for _, want := range []string{
		`mpsocks_client_sent_bytes_total{client="o'hara \"x\"\n"} 7`, `{client="b?"}`, "mpsocks_client_quota_used_bytes", `mpsocks_connects_total{result="connected"} 1`,
		"mpsocks_gate_connections 3", `mpsocks_gate_closed_total{reason="turned"} 4`, "mpsocks_memory_held_bytes 5", "mpsocks_memory_limit_bytes 6", `mpsocks_memory_cuts_total{what="session"} 7`, `mpsocks_memory_cuts_total{what="stream"} 8`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in\n%s", want, body)
		}
	}
	if strings.Contains(body, "192.0.2.1") {
		t.Error("a client's address is a label")
	}
	promtool(t, body)
}

// promtool has the metrics looked at by Prometheus' own rules.
func promtool(t *testing.T, metrics string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("promtool is not here (Debian: prometheus): the metrics' style is not checked")
		return
	}
	cmd := exec.Command(path, "check", "metrics")
	cmd.Stdin = strings.NewReader(metrics)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// A half that reconnects a thousand times, with other sessions, ports and programs each
// time, has as many series as before.
func TestMetricsDoNotGrow(t *testing.T) {
	turn := 0
	s := start(t, func(c *Config) {
		c.Status = func() *status.Status {
			st := aStatus()
			turn++
			st.Session.ID = fmt.Sprintf("%08x", turn)
			st.Session.Subflows[0].Local = fmt.Sprintf("192.0.2.7:%d", 1024+turn)
			st.Programs[0].Key, st.Programs[0].To = fmt.Sprint(turn), fmt.Sprintf("host%d.example:443", turn)
			return st
		}
	})
	series := func() int {
		_, body := s.get("/metrics", nil)
		return strings.Count(body, "\nmpsocks_")
	}
	before := series()
	for range 1000 {
		s.recorder.sample()
	}
	if after := series(); after != before || before < 50 {
		t.Errorf("%d series, and %d after a thousand sessions", before, after)
	}
}

// What is known of a path goes with it.
func TestRecorderForgets(t *testing.T) {
	var now atomic.Pointer[status.Status] // the recorder takes samples by itself, too
	now.Store(aStatus())
	s := start(t, func(c *Config) { c.Status = func() *status.Status { one := *now.Load(); return &one } })
	r := s.recorder
	r.sample()
	with, session := *now.Load(), *now.Load().Session
	session.Paths = session.Paths[:1]
	with.Session = &session
	now.Store(&with)
	r.sample()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.losses["dsl"] == nil || r.states["dsl"].since.IsZero() {
		t.Error("a path that is there was forgotten")
	}
	if _, there := r.states["lte"]; there || r.losses["lte"] != nil {
		t.Error("a path that is gone is remembered")
	}
}
