package interop

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/mux/muxtest"
)

// webSize is a few windows of a stream.
const webSize = 20 << 20

// web serves webSize bytes at / and sums what is sent to /sum.
func web(t *testing.T, network, address string, secure bool) *httptest.Server {
	t.Helper()
	body, _ := noise(webSize)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(body) // the client compares
	})
	mux.HandleFunc("/sum", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		_, _ = io.Copy(h, r.Body) // the client compares
		fmt.Fprintf(w, "%x", h.Sum(nil))
	})
	s := httptest.NewUnstartedServer(mux)
	s.Listener.Close()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s.Listener = l
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// TestCurl loads and sends over HTTP and HTTPS, IPv4 and IPv6, by address and
// by a name that the server's side resolves.
func TestCurl(t *testing.T) {
	curl := need(t, "curl")
	body, sum := noise(webSize)
	upload := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(upload, body, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, network, address string
		secure                 bool
		host                   string // instead of the address
	}{
		{name: "HTTP IPv4", network: "tcp4", address: "127.0.0.1:0"},
		{name: "HTTP IPv6", network: "tcp6", address: "[::1]:0"},
		{name: "HTTP by name", network: "tcp4", address: "127.0.0.1:0", host: "localhost"},
		{name: "HTTPS IPv4", network: "tcp4", address: "127.0.0.1:0", secure: true},
		{name: "HTTPS IPv6", network: "tcp6", address: "[::1]:0", secure: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.network == "tcp6" && !muxtest.HasIPv6() {
				t.Skip("this machine has no IPv6 loopback")
			}
			s := web(t, c.network, c.address, c.secure)
			url := s.URL
			if c.host != "" {
				_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
				url = "http://" + net.JoinHostPort(c.host, port)
			}
			args := []string{"-q", "-sS", "--fail", "--max-time", "60", "--socks5-hostname", pair.Proxy()}
			if c.secure {
				file := filepath.Join(t.TempDir(), "ca.pem")
				block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
				if err := os.WriteFile(file, block, 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--cacert", file)
			}
			got := output(t, 70*time.Second, curl, append(args, url+"/")...)
			if !bytes.Equal(got, body) {
				t.Errorf("%d bytes came, not the %d that were served", len(got), len(body))
			}
			said := output(t, 70*time.Second, curl, append(args, "--data-binary", "@"+upload, url+"/sum")...)
			if want := fmt.Sprintf("%x", sum); string(said) != want {
				t.Errorf("the server got %s, not %s", said, want)
			}
		})
	}
}

// TestCurlRefused checks that the exit's reply code reaches the application.
func TestCurlRefused(t *testing.T) {
	curl := need(t, "curl")
	free, err := halves.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	address := free[0]
	out := output(t, 20*time.Second, "/bin/sh", "-c",
		fmt.Sprintf("%s -q -sS --max-time 10 --socks5-hostname %s http://%s/ 2>&1 || true", curl, pair.Proxy(), address))
	if !strings.Contains(string(out), "(5)") { // curl names the reply code in parentheses
		t.Errorf("curl says %q, not that the connection was refused", out)
	}
}
