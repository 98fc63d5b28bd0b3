package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
	"github.com/mpsocks/mpsocks/status"
)

// statusOf asks a half's admin address.
func statusOf(t *testing.T, p *halves.Pair, admin string) *status.Status {
	t.Helper()
	resp, err := p.Get(admin, "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var s status.Status
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// TestWhatFailed has CONNECTs fail in three ways: both halves say at debug which one
// and why, and the server's status has the last one as the client's error.
func TestWhatFailed(t *testing.T) {
	p := begin(t, halves.Config{Dir: t.TempDir(), Paths: halves.TwoPaths(), Allow: []string{"127.0.0.0/8"}, Admin: true, Verbose: true})
	closed := ports(t, 1)[0].String()
	d := socks.Dialer{Proxy: p.Proxy()}
	for _, c := range []struct{ to, client, server string }{
		{"10.1.2.3:80", "the server does not allow it", "not allowed by relay.allow and relay.deny"},
		{"nobody.invalid:80", "no answer from there, or no such name", "name not resolved"},
		{closed, "refused there", "connection refused"},
	} {
		if conn, err := d.Connect(c.to); err == nil {
			conn.Close()
			t.Fatalf("CONNECT to %s succeeds", c.to)
		}
		for half, out := range map[string]struct {
			of  *halves.Process
			why string
		}{"client": {p.Client, c.client}, "server": {p.Server, c.server}} {
			eventually(t, 20*time.Second, fmt.Sprintf("the %s says why %s fails: %s", half, c.to, out.why), func() bool {
				for line := range strings.Lines(out.of.Output()) {
					if strings.Contains(line, "CONNECT failed") && strings.Contains(line, c.to) && strings.Contains(line, out.why) {
						return true
					}
				}
				return false
			})
		}
	}
	var s *status.Status
	eventually(t, 20*time.Second, "the server's status has it, and the client's release", func() bool {
		s = statusOf(t, p, p.ServerAdmin)
		return len(s.Clients) == 1 && strings.Contains(s.Clients[0].Error, "CONNECT to "+closed+": connection refused") && !s.Clients[0].ErrorAt.IsZero() &&
			s.Clients[0].Version != "" // a message of its own, which may come later
	})
	if s.Clients[0].Version != s.Version || len(s.Warnings) > 0 {
		t.Errorf("client's release %q, ours %q: %q", s.Clients[0].Version, s.Version, s.Warnings)
	}
}

// TestDownloadSeen has the client's status say what a program receives, by a connection
// and by datagrams.
func TestDownloadSeen(t *testing.T) {
	p := begin(t, halves.Config{Dir: t.TempDir(), Paths: halves.TwoPaths(), Allow: []string{"127.0.0.0/8"}, Admin: true})
	const size = 300_000
	server := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) {
		_, _ = c.Write(make([]byte, size))
		_, _ = io.Copy(io.Discard, c)
	})
	c := connect(t, p.Socks[0], server.String())
	if _, err := io.ReadFull(c, make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	echo := udpEcho(t, "127.0.0.1:0")
	s := startStream(t, p, echo)
	defer s.finish(time.Second)
	var programs []status.Program
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("programs: %+v", programs)
		}
	})
	eventually(t, 20*time.Second, "the client says what came", func() bool {
		stream, datagrams := false, false
		programs = statusOf(t, p, p.ClientAdmin).Programs
		for _, q := range programs {
			stream = stream || q.Proto == "tcp" && q.To == server.String() && q.Received >= size
			datagrams = datagrams || q.Proto == "udp" && q.To == echo.String() && q.Received > 0
		}
		return stream && datagrams
	})
}
