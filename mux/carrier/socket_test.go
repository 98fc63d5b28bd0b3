package carrier

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/muxtest"
)

// A record that does not come whole, or that carries no data, holds no buffer while the
// rest is waited for.
func TestHalfARecordHoldsNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	pub, key, _ := ed25519.GenerateKey(nil)
	like := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<35, 0)}
	der, err := x509.CreateCertificate(nil, like, like, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	k := NewTLS(far, 16<<10)
	done := make(chan error, 1)
	go func() {
		done <- k.Server(t.Context(), &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
		})
	}()
	r := muxtest.NewRekeyer(near)
	if _, err := r.Client(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}); err != nil {
		t.Skip(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	k.Start()
	record := r.KeyUpdates(1, nil)
	for _, part := range [][]byte{record[:9], record[9:]} {
		if _, err := near.Write(part); err != nil {
			t.Fatal(err)
		}
		enough := errors.New("enough")
		err := k.Receive(func() error {
			if n, err := k.Read(make([]byte, 100)); n != 0 || !errors.Is(err, ErrNotYet) {
				t.Errorf("%d bytes of it: %d, %v", len(part), n, err)
			}
			return enough
		})
		if err != enough {
			t.Fatal(err)
		}
		if k.sock.in != nil {
			t.Errorf("after %d bytes a buffer is held", len(part))
		}
	}
}
