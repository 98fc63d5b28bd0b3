package mux

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/handshake"
)

// webServer is what a cover's upstream is.
func webServer(t *testing.T) *httptest.Server {
	t.Helper()
	w := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "a web site for "+r.Host)
	}))
	w.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.StartTLS()
	t.Cleanup(w.Close)
	return w
}

// covered is a tunnel behind a cover.
func covered(t *testing.T, cover Cover) *loopTunnel {
	t.Helper()
	return coveredLog(t, cover, io.Discard)
}

// coveredLog is covered with all that the server says.
func coveredLog(t *testing.T, cover Cover, out io.Writer) *loopTunnel {
	t.Helper()
	cover.ALPN, cover.ServerName = []string{"h2", "http/1.1"}, "www.example.org"
	return newLoopTunnel(t, 1, 2, func(c *ClientConfig, l *ListenerConfig) {
		c.Cover, l.Cover = Cover{ALPN: cover.ALPN, ServerName: cover.ServerName}, cover
		l.Log = zerolog.New(out)
	})
}

// recorder keeps what a connection writes first.
type recorder struct {
	net.Conn
	mu  sync.Mutex
	out bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.out.Write(p)
	r.mu.Unlock()
	return r.Conn.Write(p)
}

func TestStrangersGetTheWebServer(t *testing.T) {
	web := webServer(t)
	var out logLines
	n := coveredLog(t, Cover{Upstream: web.Listener.Addr().String()}, &out)
	addr := n.addr.String()
	t.Run("browser", func(t *testing.T) {
		c := web.Client()
		tr := c.Transport.(*http.Transport).Clone()
		tr.DialTLSContext = nil
		tr.TLSClientConfig.ServerName = "example.com"
		c.Transport = tr
		r, err := c.Get("https://" + addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		if !strings.HasPrefix(string(b), "a web site for") {
			t.Errorf("got %q", b)
		}
		tr.CloseIdleConnections()
	})
	t.Run("not TLS", func(t *testing.T) {
		both := func(addr string) string {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
			b, _ := io.ReadAll(c)
			return string(b)
		}
		if got, want := both(addr), both(web.Listener.Addr().String()); got != want || want == "" {
			t.Errorf("got %q, the web server says %q", got, want)
		}
	})
	t.Run("are not refused", func(t *testing.T) {
		eventually(t, "two guests have gone", func() bool { return strings.Count(out.String(), "a guest of the cover's upstream has gone") == 2 })
		if strings.Contains(out.String(), "was refused") || n.listener.Refusals()[refusedTLS] != 0 {
			t.Error(out.String())
		}
	})
	t.Run("unknown key", func(t *testing.T) {
		_, k, _ := ed25519.GenerateKey(nil)
		g, err := handshake.NewGreeter(k, Cover{ALPN: []string{"h2", "http/1.1"}, ServerName: "www.example.org"}, n.serverKey.Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		cfg, turn := g.Config(time.Now())
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conn := tls.Client(c, cfg)
		err = conn.Handshake()
		err = g.Explain(conn.ConnectionState(), turn, err)
		if err == nil || !strings.Contains(err.Error(), "not mpsocks") {
			t.Errorf("one who knows the server's key and holds no client's: %v", err)
		}
	})
	t.Run("replay", func(t *testing.T) {
		g, err := handshake.NewGreeter(n.key, Cover{ALPN: []string{"h2", "http/1.1"}, ServerName: "www.example.org"}, n.serverKey.Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		rec := &recorder{Conn: c}
		cfg, _ := g.Config(time.Now())
		first := tls.Client(rec, cfg)
		defer first.Close()
		var hello []byte
		if err := first.Handshake(); err != nil {
			t.Fatal(err)
		}
		if k, err := handshake.PeerKey(first.ConnectionState()); err != nil || k != [32]byte(n.serverKey.Public().(ed25519.PublicKey)) {
			t.Fatalf("the client did not get the server: %v", err)
		}
		rec.mu.Lock()
		hello = bytes.Clone(rec.out.Bytes()[:5+int(rec.out.Bytes()[3])<<8+int(rec.out.Bytes()[4])])
		rec.mu.Unlock()
		again, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		direct, err := net.Dial("tcp", web.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer direct.Close()
		if a, b := flight(t, again, hello), flight(t, direct, hello); a != b {
			t.Errorf("a recorded hello is answered by %d bytes, by the web server with %d", a, b)
		}
	})
}

// flight returns the size of the ServerHello's record and of what follows at once.
func flight(t *testing.T, c net.Conn, hello []byte) (size int) {
	t.Helper()
	if _, err := c.Write(hello); err != nil {
		t.Fatal(err)
	}
	for b, wait := make([]byte, 16<<10), 20*time.Second; ; wait = 300 * time.Millisecond {
		_ = c.SetReadDeadline(time.Now().Add(wait))
		n, err := c.Read(b)
		if size += n; errors.Is(err, os.ErrDeadlineExceeded) || err == io.EOF {
			return size
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestSilenceForStrangers(t *testing.T) {
	n := covered(t, Cover{Silent: true})
	for name, say := range map[string]string{"nothing": "", "http": "GET / HTTP/1.0\r\n\r\n", "a bad record": "\x16\x03\x01\x00\x05hello"} {
		c, err := net.Dial("tcp", n.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, say)
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		b, err := io.ReadAll(c)
		if len(b) > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: answered with %x, %v", name, b, err)
		}
		c.Close()
	}
	c, err := net.Dial("tcp", n.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
	base, err := handshake.ClientTLS(n.key, n.serverKey.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	if err := tls.Client(c, base).Handshake(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a hello without a proof: %v", err)
	}
}

// A client that trusts several keys finds the one that the server has.
func TestGreeterFindsTheServersKey(t *testing.T) {
	old, _, _ := ed25519.GenerateKey(nil)
	newLoopTunnel(t, 1, 1, func(c *ClientConfig, _ *ListenerConfig) {
		c.ServerKeys, c.ServerKey = []ed25519.PublicKey{old, c.ServerKey}, nil
	})
}
