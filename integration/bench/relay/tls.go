//go:build linux

package relay

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
)

// TLSClient listens on loopback for plain TCP, hands its address to ready, and
// relays each connection through one TLS connection of its own to the server,
// with io.Copy. It serves until the process ends.
func TLSClient(server netip.AddrPort, ready func(netip.AddrPort)) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ready(l.Addr().(*net.TCPAddr).AddrPort())
	// The yardstick encrypts like the tunnel does; who the server is matters
	// only to the real program.
	config := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}
	return serve(l, func() (half, error) { return tls.Dial("tcp", server.String(), config) })
}

// TLSServer ends the TLS connections and relays each to the target.
func TLSServer(target netip.AddrPort, ready func(netip.AddrPort)) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		return err
	}
	ready(l.Addr().(*net.TCPAddr).AddrPort())
	return serve(l, func() (half, error) {
		c, err := net.Dial("tcp", target.String())
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	})
}

// half is a connection whose sending side can be closed alone.
type half interface {
	net.Conn
	CloseWrite() error
}

func serve(l net.Listener, dial func() (half, error)) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() { // ends with both connections
			defer c.Close()
			out, err := dial()
			if err != nil {
				return
			}
			defer out.Close()
			back := make(chan struct{})
			go func() {
				copyHalf(c.(half), out)
				close(back)
			}()
			copyHalf(out, c)
			<-back
		}()
	}
}

// copyHalf is one direction: bytes, then the end. A failed direction ends the
// other one too, so that no connection is left behind.
func copyHalf(dst half, src net.Conn) {
	if _, err := io.Copy(dst, src); err != nil {
		_ = dst.Close()
		_ = src.Close()
		return
	}
	_ = dst.CloseWrite()
}
