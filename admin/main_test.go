package admin

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// aStatus is a client's, with something of everything.
func aStatus() *status.Status {
	now := time.Now()
	return &status.Status{
		Half: status.Client, Time: now, Ready: true, Listen: []string{"127.0.0.1:1080"},
		Drops: map[string]uint64{"header": 0}, Refused: map[string]uint64{"password": 2},
		Session: &status.Session{
			ID: "390b9dd1", Up: true, Server: "203.0.113.5:7443", Mode: "auto", Drops: map[string]uint64{"codel": 3},
			Paths: []status.Path{
				{Name: "dsl", State: status.Up, RTT: .012, Subflows: 2, Sent: 1000, Received: 2000, Usage: &status.Usage{Today: 3000, Month: 4000}},
				{Name: "lte", State: status.Dead, Cause: "no answer", Metered: true, Usage: &status.Usage{Today: 1, Month: 2, MonthlyCap: 10 << 30}},
			},
			Subflows: []status.Subflow{{Path: "dsl", Local: "192.0.2.7:40000", Remote: "203.0.113.5:7443", State: "up"}},
		},
		Programs: []status.Program{{Name: "curl", User: "ann", To: "example.com:443", Proto: "tcp", Class: "bulk", Why: "much traffic", Paths: []string{"dsl"}}},
		Events:   []status.Event{},
	}
}

// running is a Server that is Run.
type running struct {
	*Server
	t    *testing.T
	base string
	http *http.Client
}

// start runs a server at a free port with a state directory of its own.
func start(t *testing.T, change func(*Config)) *running {
	t.Helper()
	cfg := Config{Addrs: []conf.Admin{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}}, StateDir: t.TempDir(), Half: status.Client, Version: "v1", Status: aStatus}
	if change != nil {
		change(&cfg)
	}
	s, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	transport := &http.Transport{}
	r := &running{Server: s, t: t, http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if at := s.Addrs()[0]; at.Path != "" {
		r.base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", at.Path)
		}
	} else {
		r.base = "http://" + at.Addr.String()
	}
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
	})
	return r
}

// headers of a request, in pairs.
type headers []string

func (r *running) bearer() headers { return headers{"Authorization", "Bearer " + r.porter.token} }

func (r *running) ask(method, path, body string, h headers) (*http.Response, error) {
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(h); i += 2 {
		if h[i] == "Host" {
			req.Host = h[i+1]
		}
		req.Header.Set(h[i], h[i+1])
	}
	return r.http.Do(req)
}

// get returns the code and the body.
func (r *running) get(path string, h headers) (int, string) { return r.send("GET", path, "", h) }

func (r *running) send(method, path, body string, h headers) (int, string) {
	r.t.Helper()
	resp, err := r.ask(method, path, body, h)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}
