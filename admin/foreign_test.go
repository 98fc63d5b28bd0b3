package admin

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
)

// Who does not speak HTTP at the admin address hears at once that it is none of his, and the log says
// so, once: a program that took it for the proxy's waited for five seconds.
func TestForeignProtocols(t *testing.T) {
	var said bytes.Buffer
	s, err := Listen(Config{
		Half: "client", Version: "v1", Status: aStatus, Log: zerolog.New(zerolog.SyncWriter(&said)),
		Addrs: []conf.Admin{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	for _, c := range []struct{ says, want string }{
		{"\x05\x01\x00", "\x05\xFF"},
		{"\x04\x01\x00\x50\xC0\x00\x02\x01\x00", "\x00\x5B\x00\x00\x00\x00\x00\x00"},
		{"\x16\x03\x01\x02\x00\x01\x00", "HTTP/1.1 400 Bad Request\r\n"},
		{"GET /healthz HTTP/1.0\r\n\r\n", "HTTP/1.0 "},
	} {
		conn, err := net.Dial("tcp", s.Addrs()[0].Addr.String())
		if err != nil {
			t.Error(err)
			break
		}
		_ = conn.SetDeadline(time.Now().Add(headerTime * 4 / 5))
		_, _ = io.WriteString(conn, c.says)
		got, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(got), c.want) || len(c.want) < 9 && string(got) != c.want {
			t.Errorf("%q is answered %q, %v", c.says, got, err)
		}
		conn.Close()
	}
	cancel()
	<-done
	if n := strings.Count(said.String(), `"level":"warn"`); n != 1 || !strings.Contains(said.String(), "takes the admin address for a SOCKS proxy") {
		t.Errorf("the log: %s", said.String())
	}
}
