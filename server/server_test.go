package server

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// tunnelClient is the client's handler: it keeps the payloads that come.
type tunnelClient struct{ got chan got }

func (c *tunnelClient) Deliver(pkts [][]byte) {
	for _, pkt := range pkts {
		var h packet.UDP
		payload, err := packet.ParseUDP(pkt, &h)
		if err != nil {
			panic(err)
		}
		c.got <- got{src: h.Src, dst: h.Dst, payload: bytes.Clone(payload)}
	}
}
func (c *tunnelClient) Stream(st *mux.Stream) { st.Reset() }
func (c *tunnelClient) Closed(error)          {}

func testConfig(t *testing.T) (*conf.Server, conf.PrivateKey) {
	t.Helper()
	cfg := conf.DefaultServer()
	cfg.Listen = []conf.Listen{{Address: netip.MustParseAddrPort("127.0.0.1:0")}}
	cfg.Relay.Allow = allow(t, "127.0.0.0/8")
	var err error
	if cfg.PrivateKey, err = conf.Generate(); err != nil {
		t.Fatal(err)
	}
	key, err := conf.Generate()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Clients = []conf.Peer{{Name: "laptop", PublicKey: key.Public()}}
	return cfg, key
}

// TestThroughTunnel runs the Server behind a real tunnel: echo, a datagram to a
// remote and back, and a CONNECT.
func TestThroughTunnel(t *testing.T) {
	cfg, key := testConfig(t)
	s, err := New(cfg, zerolog.Nop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	handler := &tunnelClient{got: make(chan got, 100)}
	c, err := mux.NewClient(mux.ClientConfig{
		Key: ed25519.PrivateKey(key), ServerKey: ed25519.PublicKey(cfg.PrivateKey.Public()),
		Addresses: []string{s.Addrs()[0].String()}, Handler: handler, Log: zerolog.Nop(),
		MaxStreams: 16,
		Paths:      []mux.Path{{Name: "a", Subflows: 2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- s.Run(ctx) }()
	clientCtx, stopClient := context.WithCancel(t.Context())
	go func() { ended <- c.Run(clientCtx) }()
	defer func() {
		stopClient()
		<-ended
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run does not end")
		}
	}()
	sess := c.Session()
	ready, cancelReady := context.WithTimeout(ctx, 10*time.Second)
	defer cancelReady()
	if err := sess.Ready(ready); err != nil {
		t.Fatal(err)
	}
	send := func(dst netip.AddrPort, text string) {
		pkt := makePacket(inner4(5), dst, 0, 0, []byte(text))
		b := buf.Get(len(pkt))
		copy(b.Bytes(), pkt)
		sess.Send(&mux.Source{}, []*buf.Buffer{b})
		sess.Flush()
	}
	receive := func() got {
		select {
		case g := <-handler.got:
			return g
		case <-time.After(20 * time.Second):
			t.Fatal("no packet came")
		}
		return got{}
	}
	echo := netip.AddrPortFrom(packet.ServerHost4, packet.EchoPort)
	send(echo, "ping")
	if g := receive(); string(g.payload) != "ping" || g.src != echo {
		t.Errorf("echo: %+v", g)
	}
	remote, at := remoteUDP(t, "127.0.0.1")
	send(at, "question")
	text, from := read(t, remote)
	if text != "question" {
		t.Errorf("got %q", text)
	}
	if _, err := remote.WriteToUDPAddrPort([]byte("answer"), from); err != nil {
		t.Fatal(err)
	}
	if g := receive(); string(g.payload) != "answer" || g.src != at || g.dst != inner4(5) {
		t.Errorf("remote: %+v", g)
	}

	ln := listenTCP(t, "127.0.0.1:0")
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		b, _ := io.ReadAll(conn)
		_, _ = conn.Write(b)
	}()
	st, err := sess.OpenStream(ctx, netip.MustParseAddrPort("127.0.0.1:4"), netip.AddrPortFrom(packet.ServerHost4, packet.ExitPort))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	_ = st.SetDeadline(time.Now().Add(20 * time.Second))
	if code, _ := askConnect(t, st, 1, "127.0.0.1", portOf(ln), "early"); code != 0 {
		t.Fatalf("reply %d", code)
	}
	bulk := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		_, _ = st.Write(bulk)
		_ = st.CloseWrite()
	}()
	b, err := io.ReadAll(st)
	if err != nil || !bytes.Equal(b, append([]byte("early"), bulk...)) {
		t.Errorf("stream: %d bytes, %v", len(b), err)
	}
	gone := listenTCP(t, "127.0.0.1:0")
	gone.Close()
	for host, want := range map[string]byte{"127.0.0.1": 5, "192.168.0.1": 2} {
		st, err := sess.OpenStream(ctx, netip.AddrPort{}, netip.AddrPortFrom(packet.ServerHost4, packet.ExitPort))
		if err != nil {
			t.Fatal(err)
		}
		if code, _ := askConnect(t, st, 1, host, portOf(gone), ""); code != want {
			t.Errorf("%s: reply %d", host, code)
		}
		st.Close()
	}
	eventually(t, "streams end", func() bool { return s.streams.used.Load() == 0 })
	state := s.Status()
	if state.Mappings != 1 || len(state.Sessions) != 1 || state.Clients[0].Name != "laptop" || state.Connects["connected"] != 1 {
		t.Errorf("%+v", state)
	}
	if _, err := json.Marshal(state); err != nil {
		t.Error(err)
	}
}

func TestNewErrors(t *testing.T) {
	busy := listenTCP(t, "127.0.0.1:0").(*net.TCPListener)
	for _, tt := range []struct {
		change func(*conf.Server)
		want   string
	}{
		{func(c *conf.Server) { c.Listen[0].Address = busy.Addr().(*net.TCPAddr).AddrPort() }, busy.Addr().String()},
		{func(c *conf.Server) { c.Relay.Bind = "nosuchinterface0" }, "relay.bind"},
		{func(c *conf.Server) { c.Clients[0].PublicKey = nil }, "laptop"},
	} {
		cfg, _ := testConfig(t)
		tt.change(cfg)
		s, err := New(cfg, zerolog.Nop(), nil)
		if err == nil {
			t.Fatalf("no error that names %s", tt.want)
		}
		if s != nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Error(err)
		}
	}
}
