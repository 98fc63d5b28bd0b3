package e2e

import (
	"context"
	"crypto/ed25519"
	"io"
	"net"
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

// TestSeriesAreBounded has a client come and go, with new keys of the session each time,
// and strangers knock, while programs open associations and CONNECTs: each half has the
// same series as at first. E2E_RECONNECTS says how often, 100 otherwise.
func TestSeriesAreBounded(t *testing.T) {
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
	server := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
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
		if _, _, ok := f.receive(t, 5*time.Second); !ok {
			t.Error("no datagram comes back")
		}
	}
	client, servers := series(t, p, p.ClientAdmin), series(t, p, p.ServerAdmin)
	if len(client) < 50 || len(servers) < 50 {
		t.Fatalf("%d series at the client, %d at the server", len(client), len(servers))
	}
	for i := range reconnects {
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
