package e2e

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/mux"
)

// deaf takes what comes through a session and does nothing with it.
type deaf struct{}

func (deaf) Deliver([][]byte)      {}
func (deaf) Stream(st *mux.Stream) { st.Reset() }
func (deaf) Closed(error)          {}

// series are the metrics of a half.
func series(t *testing.T, p *halves.Pair, admin string) map[string]float64 {
	t.Helper()
	resp, err := p.Get(admin, "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for l := range strings.Lines(string(body)) {
		if i := strings.LastIndexByte(l, ' '); i > 0 && l[0] != '#' {
			if all[l[:i]], err = strconv.ParseFloat(strings.TrimSpace(l[i:]), 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

// risen holds that no counter is lower than at the last scrape, which it returns anew.
func risen(t *testing.T, when string, before, now map[string]float64) map[string]float64 {
	t.Helper()
	for name, was := range before {
		family, _, _ := strings.Cut(name, "{")
		if is, there := now[name]; strings.HasSuffix(family, "_total") && there && is < was {
			t.Errorf("%s: %s was %v and is %v", when, name, was, is)
		}
	}
	return now
}

// TestCountersNeverFall has sessions end, the server restarted, a path taken away and put
// back, a client revoked and added again: no counter of either half falls while it runs, and
// what a session had counted is in the server's sums when it has ended.
func TestCountersNeverFall(t *testing.T) {
	t.Parallel()
	p := begin(t, halves.Config{Admin: true})
	w := &workshop{Config: p.Config, t: t}
	echo := udpEcho(t, "127.0.0.1:0")
	load := func() {
		t.Helper()
		s := startStream(t, p, echo)
		time.Sleep(300 * time.Millisecond)
		s.finish(patience)
	}
	load()
	client, server := series(t, p, p.ClientAdmin), series(t, p, p.ServerAdmin)
	const sent = "mpsocks_sent_bytes_total"
	if client[sent] < 10_000 || server[sent] < 10_000 {
		t.Fatalf("%s is %v at the client, %v at the server", sent, client[sent], server[sent])
	}

	// The client is replaced: what the server has sent it stays counted.
	if _, err := p.Client.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the session ends", func() bool { return strings.Contains(p.Server.Output(), "session ended") })
	server = risen(t, "after the session's end", server, series(t, p, p.ServerAdmin))
	var err error
	if p.Client, err = halves.Run(mpsocks, "client", "-c", p.ClientFile); err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	load()
	before := server[sent]
	if server = risen(t, "with the next session", server, series(t, p, p.ServerAdmin)); server[sent] < before+10_000 {
		t.Errorf("the server's %s went from %v to %v with a second session", sent, before, server[sent])
	}

	// A path goes and comes.
	client = series(t, p, p.ClientAdmin)
	line := lineOf(t, p.ClientFile, "  - {name: two")
	for _, step := range []struct{ what, from, to string }{{"without a path", line, "# two"}, {"with it again", "# two", line}} {
		w.edit(p.ClientFile, func(s string) string { return replaceLine(s, step.from, step.to) })
		does(t, "reload", "-c", p.ClientFile)
		load()
		client = risen(t, step.what, client, series(t, p, p.ClientAdmin))
		server = risen(t, step.what, server, series(t, p, p.ServerAdmin))
	}

	// The client is revoked, and let in again.
	line = lineOf(t, p.ServerFile, "  - {name: here")
	for _, step := range []struct{ what, from, to string }{{"when the client is revoked", line, "# here"}, {"when it is back", "# here", line}} {
		w.edit(p.ServerFile, func(s string) string { return replaceLine(s, step.from, step.to) })
		does(t, "reload", "-c", p.ServerFile)
		client = risen(t, step.what, client, series(t, p, p.ClientAdmin))
		server = risen(t, step.what, server, series(t, p, p.ServerAdmin))
	}
	if err := p.Ready(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	load()
	client = risen(t, "with the next session after that", client, series(t, p, p.ClientAdmin))
	risen(t, "with the next session after that", server, series(t, p, p.ServerAdmin))

	// The server is another one: the client goes on counting.
	p.Server.Kill()
	if err := p.StartServer(); err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	load()
	before = client[sent]
	if client = risen(t, "with a new server", client, series(t, p, p.ClientAdmin)); client[sent] < before+10_000 {
		t.Errorf("the client's %s went from %v to %v with a new server", sent, before, client[sent])
	}
}

// TestSeriesAreBounded has a client come and go, with new keys of the session each time,
// and strangers knock, while programs open associations and CONNECTs: each half has the
// same series as at first. E2E_RECONNECTS says how often, 100 otherwise.
func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	reconnects := 100
	if n, err := strconv.Atoi(os.Getenv("E2E_RECONNECTS")); err == nil {
		reconnects = n
	}
	p := begin(t, halves.Config{Admin: true, Verbose: true})
	cfg, err := conf.LoadClient(p.ClientFile)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := conf.Generate()
	if err != nil {
		t.Fatal(err)
	}
	echo := udpEcho(t, "127.0.0.1:0")
	server := tcpServer(t, "127.0.0.1:0", mirror)
	once := func(key conf.PrivateKey) bool {
		c, err := mux.NewClient(mux.ClientConfig{
			Key: ed25519.PrivateKey(key), ServerKey: ed25519.PublicKey(cfg.Server.Keys()[0]), Addresses: cfg.Server.Addresses,
			Paths: []mux.Path{{Name: "a", Subflows: 1}}, Handler: deaf{}, Log: zerolog.Nop(),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		wait, cancel := context.WithTimeout(ctx, 10*time.Second)
		if string(key) == string(stranger) {
			wait, cancel = context.WithTimeout(ctx, 20*time.Millisecond)
		}
		defer cancel()
		up := c.Session().Ready(wait) == nil
		stop()
		<-done
		return up
	}
	program := func() {
		c := connect(t, p.Socks[0], server.String())
		defer c.Close()
		if !echoes(c) {
			t.Error("nothing comes back over a CONNECT")
		}
		f := associate(t, p.Socks[0])
		defer f.close()
		f.send(t, echo.String(), []byte("hello"))
		if _, _, ok := f.receive(t, patience); !ok {
			t.Error("no datagram comes back")
		}
	}
	client, servers := series(t, p, p.ClientAdmin), series(t, p, p.ServerAdmin)
	if len(client) < 50 || len(servers) < 50 {
		t.Fatalf("%d series at the client, %d at the server", len(client), len(servers))
	}
	rising := servers
	for i := range reconnects {
		if i%10 == 9 {
			rising = risen(t, fmt.Sprintf("after %d sessions", i), rising, series(t, p, p.ServerAdmin))
		}
		if !once(cfg.PrivateKey) {
			t.Fatalf("no session the %dth time", i+1)
		}
		if i%10 == 0 {
			program()
			once(stranger)
		}
	}
	for half, now := range map[string][2]map[string]float64{
		"client": {client, series(t, p, p.ClientAdmin)}, "server": {servers, series(t, p, p.ServerAdmin)},
	} {
		for s := range now[1] {
			if _, ok := now[0][s]; !ok {
				t.Errorf("the %s has %s, and had not before", half, s)
			}
		}
		for s := range now[0] {
			if _, ok := now[1][s]; !ok {
				t.Errorf("the %s has %s no more", half, s)
			}
		}
	}
	t.Logf("%d series at the client, %d at the server, before and after %d sessions", len(client), len(servers), reconnects)
}
