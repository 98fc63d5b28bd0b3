package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/buf"
)

// farEnd is a server's handler: it answers packets as the fake tunnel does and
// serves streams with armon.
type farEnd struct {
	session *mux.Session
	fake    *fakeTunnel
	source  mux.Source
}

func (e *farEnd) Deliver(pkts [][]byte) {
	var in []*buf.Buffer
	for _, p := range pkts {
		b := buf.Get(len(p))
		copy(b.Bytes(), p)
		in = append(in, b)
	}
	e.fake.mu.Lock()
	e.fake.replies = nil
	e.fake.mu.Unlock()
	e.fake.Send(&mux.Source{}, in)
	e.fake.mu.Lock()
	defer e.fake.mu.Unlock()
	var out []*buf.Buffer
	for _, r := range e.fake.replies {
		b := buf.Get(len(r))
		copy(b.Bytes(), r)
		out = append(out, b)
	}
	e.session.Send(&e.source, out)
	e.session.Flush()
}

func (e *farEnd) Stream(st *mux.Stream) {
	defer st.Close()
	e.fake.exit(st)
}
func (e *farEnd) Closed(error) {}

// TestThroughATunnel runs a client as New makes it, against a real session of
// two subflows.
func TestThroughATunnel(t *testing.T) {
	serverKey, clientKey := generate(t), generate(t)
	z := &zone{ttl: 300, addrs: map[string][]string{"host.test": {"192.0.2.4"}}}
	ln, err := mux.Listen(mux.ListenerConfig{
		Key:     ed25519.PrivateKey(serverKey),
		Clients: map[[32]byte]string{[32]byte(clientKey.Public()): "laptop"},
		Listen:  []mux.ListenAddr{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}},
		Accept: func(s *mux.Session) (mux.Handler, error) {
			return &farEnd{session: s, fake: &fakeTunnel{answer: z.answer, exit: armonExit(t)}}, nil
		},
		MaxStreams: 100,
		Log:        nopLog,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := conf.DefaultClient()
	cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	cfg.PrivateKey = clientKey
	cfg.Server = conf.Remote{Addresses: []string{ln.Addrs()[0].String()}, PublicKey: serverKey.Public()}
	cfg.Paths = []conf.Path{{Name: "one", Bind: "127.0.0.1", Subflows: 1}, {Name: "two", Bind: "127.0.0.2", Subflows: 1}}
	c, err := New(cfg, nopLog, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	serverCtx, stopServer := context.WithCancel(context.Background())
	go func() { ended <- ln.Run(serverCtx) }()
	go func() { ended <- c.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("client: %v", err)
		}
		stopServer()
		<-ended
	}()

	request := tcpServer(t, func(conn *net.TCPConn) {
		all, _ := io.ReadAll(conn)
		conn.Write(all)
	})
	conn := dial(t, c)
	if out := talk(t, conn, append([]byte{5, 1, 0}, request...), 12); out[3] != repSuccess {
		t.Fatalf("% x", out)
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		conn.Write(data)
		conn.CloseWrite()
	}()
	if all, err := io.ReadAll(conn); err != nil || !bytes.Equal(all, data) {
		t.Errorf("%d bytes of %d, %v", len(all), len(data), err)
	}

	_, relay := associated(t, c, anywhere)
	a := newApp(t, "127.0.0.1", relay)
	for _, to := range []string{"192.0.2.1:7", "[2001:db8::1]:7"} {
		for _, size := range []int{0, 1, 1200, 30000} {
			a.echoes(t, to, bytes.Repeat([]byte{byte(size)}, size))
		}
	}
	a.send(t, datagram(0, "host.test:9", []byte("by name")))
	if from, got := a.receive(t); from.String() != "192.0.2.4:9" || string(got) != "by name" {
		t.Errorf("%q from %s", got, from)
	}
}

func generate(t *testing.T) conf.PrivateKey {
	t.Helper()
	key, err := conf.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}
