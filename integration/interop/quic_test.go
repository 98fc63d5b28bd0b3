package interop

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// TestHTTP3 loads 100 MB with quic-go over one UDP association.
func TestHTTP3(t *testing.T) {
	const size = 100e6
	body, sum := noise(size)
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	certificate := web(t, "tcp4", "127.0.0.1:0", true) // for its certificate only
	server := &http3.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(body) // the client compares
		}),
		TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: certificate.TLS.Certificates}),
	}
	served := make(chan struct{})
	go func() { // ends with the server
		defer close(served)
		_ = server.Serve(conn)
	}()
	defer func() {
		server.Close()
		<-served
	}()

	client := certificate.Client().Transport.(*http.Transport).TLSClientConfig
	tr := &http3.Transport{
		TLSClientConfig: &tls.Config{RootCAs: client.RootCAs},
		Dial: func(ctx context.Context, address string, cfg *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			a, err := dialAssociation(address)
			if err != nil {
				return nil, err
			}
			to, err := net.ResolveUDPAddr("udp", address)
			if err != nil {
				return nil, err
			}
			// The plain net.PacketConn: quic-go shall not find the socket below.
			q := &quic.Transport{Conn: struct{ net.PacketConn }{a}}
			t.Cleanup(func() {
				q.Close()
				a.Close()
			})
			return q.Dial(ctx, to, cfg, qc)
		},
	}
	defer tr.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+conn.LocalAddr().String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	response, err := tr.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	h := sha256.New()
	n, err := io.Copy(h, response.Body)
	if err != nil || n != size || [32]byte(h.Sum(nil)) != sum {
		t.Fatalf("%d bytes came, %v", n, err)
	}
	took := time.Since(start)
	t.Logf("%d bytes in %v: %.0f Mbit/s", n, took.Round(time.Millisecond), float64(n)*8/took.Seconds()/1e6)
}
