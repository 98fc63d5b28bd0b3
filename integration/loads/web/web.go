// Package web is the HTTP/3 load: a real server and a real client by quic-go, the client's packets directly or through
// a SOCKS5 UDP association. QUIC keeps its own order and congestion control end to end, and takes reordering
// for loss: this is the load that plain striping destroys.
package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/mpsocks/mpsocks/integration/loads"
)

// packetSize is the payload of the bars: 1,200 bytes, no larger packets probed for.
const packetSize = 1200

// config is quic-go's own, but for packets of one size and flow-control windows that never are the limit: the product of
// 300 Mbit/s and 0.7 s is 26 MB.
func config() *quic.Config {
	return &quic.Config{
		InitialPacketSize: packetSize, DisablePathMTUDiscovery: true,
		InitialStreamReceiveWindow: 32 << 20, MaxStreamReceiveWindow: 64 << 20,
		InitialConnectionReceiveWindow: 48 << 20, MaxConnectionReceiveWindow: 96 << 20,
	}
}

// Server serves an endless body at any path.
type Server struct {
	addr netip.AddrPort
	h3   *http3.Server
	quic *quic.Transport
	udp  *net.UDPConn
	done chan struct{}
}

// NewServer listens in the place. The caller closes it.
func NewServer(place loads.Place, addr netip.Addr) (*Server, error) {
	cert, err := certificate()
	if err != nil {
		return nil, err
	}
	s := &Server{addr: netip.AddrPortFrom(addr, loads.WebPort), done: make(chan struct{})}
	err = place.Do(func() (err error) {
		s.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(s.addr))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("web server: %w", err)
	}
	s.quic = &quic.Transport{Conn: s.udp}
	ln, err := s.quic.ListenEarly(http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}}), config())
	if err != nil {
		s.udp.Close()
		return nil, fmt.Errorf("web server: %w", err)
	}
	s.h3 = &http3.Server{Handler: http.HandlerFunc(endless), QUICConfig: config()}
	go func() { // ends with the listener
		defer close(s.done)
		_ = s.h3.ServeListener(ln)
	}()
	return s, nil
}

// endless writes until the client has had enough.
func endless(w http.ResponseWriter, r *http.Request) {
	b := make([]byte, 128<<10)
	for r.Context().Err() == nil {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

// Close ends all transfers.
func (s *Server) Close() error {
	err := s.h3.Close()
	s.quic.Close()
	s.udp.Close()
	<-s.done
	return err
}

// plain hides all methods but these: quic-go would otherwise go round them for batches and offloads.
type plain struct {
	net.PacketConn
	buffers
}

type buffers interface {
	SetReadBuffer(int) error
	SetWriteBuffer(int) error
}

// certificate is a fresh self-signed one.
func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"world"}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// Download reads the server's body for the time of the load. The connection set-up counts in Whole, not in Goodput.
func (s *Server) Download(ctx context.Context, r loads.Route, load loads.Streams) (*loads.StreamResult, error) {
	if load.Begin.IsZero() {
		load.Begin = time.Now()
	}
	ctx, cancel := context.WithTimeout(ctx, load.Duration)
	defer cancel()
	from := time.Now()
	fail := func(err error) error { return fmt.Errorf("load %s: %w", load.Name, err) }
	conn, err := r.Packets(ctx, s.addr)
	if err != nil {
		return nil, fail(err)
	}
	defer conn.Close()
	transport := &quic.Transport{Conn: plain{conn, conn.(buffers)}}
	defer transport.Close()
	client := &http3.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the certificate is a moment old and nobody's
		QUICConfig:      config(),
		Dial: func(ctx context.Context, _ string, t *tls.Config, c *quic.Config) (*quic.Conn, error) {
			return transport.DialEarly(ctx, net.UDPAddrFromAddrPort(s.addr), t, c)
		},
	}
	defer client.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.addr.String()+"/", nil)
	if err != nil {
		return nil, fail(err)
	}
	resp, err := client.RoundTrip(req)
	if err != nil {
		return nil, fail(err)
	}
	defer resp.Body.Close()
	meter := loads.NewMeter(load.Begin)
	b := make([]byte, 256<<10)
	for err == nil {
		var n int
		n, err = resp.Body.Read(b)
		meter.Add(n)
	}
	result := meter.Result(load.Name, from, load.Warmup, load.Duration)
	if early := load.Duration - time.Since(from); early > 100*time.Millisecond && err != io.EOF {
		return result, fail(fmt.Errorf("ended %v early: %w", early, err))
	}
	return result, nil
}
