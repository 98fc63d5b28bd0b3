package handshake

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// authKey returns a key pair that depends on its name only.
func authKey(name string) (ed25519.PrivateKey, [32]byte) {
	var seed [32]byte
	copy(seed[:], name)
	key := ed25519.NewKeyFromSeed(seed[:])
	return key, [32]byte(key.Public().(ed25519.PublicKey))
}

// authMeet lets two TLS configurations meet over TCP and returns both ends'
// states and errors. The client reads once, since only then does it learn what
// the server made of its key.
func authMeet(t *testing.T, client, server *tls.Config) (cs, ss tls.ConnectionState, cerr, serr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			serr = err
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		s := tls.Server(conn, server)
		if serr = s.Handshake(); serr != nil {
			return
		}
		ss = s.ConnectionState()
		_, serr = s.Write([]byte("welcome"))
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	c := tls.Client(conn, client)
	cerr = c.Handshake()
	cs = c.ConnectionState()
	if cerr == nil {
		_, cerr = io.ReadFull(c, make([]byte, len("welcome")))
	}
	conn.Close()
	<-done
	return cs, ss, cerr, serr
}

func authConfigs(t *testing.T) (client, server *tls.Config) {
	t.Helper()
	ckey, cpub := authKey("client")
	skey, spub := authKey("server")
	client, err := ClientTLS(ckey, ed25519.PublicKey(spub[:]))
	if err != nil {
		t.Fatal(err)
	}
	server, err = ServerTLS(skey, Cover{}, func(pub [32]byte) bool { return pub == cpub })
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestAuth(t *testing.T) {
	client, server := authConfigs(t)
	cs, ss, cerr, serr := authMeet(t, client, server)
	if cerr != nil || serr != nil {
		t.Fatalf("client: %v, server: %v", cerr, serr)
	}
	for name, s := range map[string]tls.ConnectionState{"client": cs, "server": ss} {
		if s.Version != tls.VersionTLS13 || s.NegotiatedProtocol != alpn || s.DidResume {
			t.Errorf("%s: version %x, protocol %q, resumed %v", name, s.Version, s.NegotiatedProtocol, s.DidResume)
		}
	}
	_, cpub := authKey("client")
	_, spub := authKey("server")
	if got, err := PeerKey(ss); got != cpub || err != nil {
		t.Errorf("the server sees the client as %x, %v", got, err)
	}
	if got, err := PeerKey(cs); got != spub || err != nil {
		t.Errorf("the client sees the server as %x, %v", got, err)
	}
}

func TestAuthRefuses(t *testing.T) {
	_, spub := authKey("server")
	_, opub := authKey("other")
	okey, _ := authKey("other")
	print := func(k [32]byte) string { return base64.StdEncoding.EncodeToString(k[:]) }
	for _, c := range []struct {
		name           string
		client, server func(c *tls.Config) *tls.Config
		cerr, serr     string // what the errors must contain
	}{
		{
			name: "another server",
			server: func(c *tls.Config) *tls.Config {
				other, err := ServerTLS(okey, Cover{}, func([32]byte) bool { return true })
				if err != nil {
					t.Fatal(err)
				}
				return other
			},
			cerr: "server's key is " + print(opub) + ", expected " + print(spub),
			serr: "bad certificate",
		},
		{
			name: "another client",
			client: func(c *tls.Config) *tls.Config {
				other, err := ClientTLS(okey, ed25519.PublicKey(spub[:]))
				if err != nil {
					t.Fatal(err)
				}
				return other
			},
			cerr: "the server does not know this client's key: add its public key to the server's clients",
			serr: "client's key " + print(opub) + " is not among the configured clients",
		},
		{
			name:   "client without a certificate",
			client: func(c *tls.Config) *tls.Config { c.Certificates = nil; return c },
			cerr:   "certificate", serr: "client didn't provide a certificate",
		},
		{
			name: "client with a key of another kind",
			client: func(c *tls.Config) *tls.Config {
				c.Certificates = []tls.Certificate{authECDSA(t)}
				return c
			},
			cerr: "the server does not know this client's key", serr: "client: has a key of type ECDSA, not Ed25519",
		},
		{
			name: "server with a key of another kind",
			server: func(c *tls.Config) *tls.Config {
				c.Certificates = []tls.Certificate{authECDSA(t)}
				return c
			},
			cerr: "server: has a key of type ECDSA, not Ed25519", serr: "bad certificate",
		},
		{
			name:   "client of TLS 1.2",
			client: func(c *tls.Config) *tls.Config { c.MinVersion, c.MaxVersion = 0, tls.VersionTLS12; return c },
			cerr:   "protocol version", serr: "unsupported versions",
		},
		{
			name:   "client of another protocol",
			client: func(c *tls.Config) *tls.Config { c.NextProtos = []string{"h2"}; return c },
			cerr:   "the server does not speak mpsocks/1: is it the right address?", serr: "unsupported application protocols",
		},
		{
			name:   "client without a protocol",
			client: func(c *tls.Config) *tls.Config { c.NextProtos = nil; return c },
			cerr:   "peer does not speak mpsocks/1", serr: "",
		},
		{
			name:   "server of no protocol",
			server: func(c *tls.Config) *tls.Config { c.NextProtos = nil; return c },
			cerr:   "peer does not speak mpsocks/1", serr: "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := authConfigs(t)
			if c.client != nil {
				client = c.client(client)
			}
			if c.server != nil {
				server = c.server(server)
			}
			_, _, cerr, serr := authMeet(t, client, server)
			if cerr == nil || serr == nil {
				t.Fatalf("client: %v, server: %v; both must fail", cerr, serr)
			}
			if got := explainTLS(cerr).Error(); !strings.Contains(got, c.cerr) {
				t.Errorf("client: %q does not say %q", got, c.cerr)
			}
			if !strings.Contains(serr.Error(), c.serr) {
				t.Errorf("server: %q does not say %q", serr, c.serr)
			}
		})
	}
}

// authECDSA returns a certificate with a key that is not Ed25519.
func authECDSA(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestAuthNotTLS(t *testing.T) {
	client, _ := authConfigs(t)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() {
		_, _ = b.Read(make([]byte, 4096))
		_, _ = b.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		_, _ = io.Copy(io.Discard, b)
	}()
	err := explainTLS(tls.Client(a, client).Handshake())
	if err == nil || !strings.Contains(err.Error(), "is it the right port?") {
		t.Errorf("error %v", err)
	}
}

func TestAuthBadKeys(t *testing.T) {
	key, pub := authKey("client")
	if _, err := ClientTLS(key[:40], ed25519.PublicKey(pub[:])); err == nil {
		t.Error("a cut private key was taken")
	}
	if _, err := ClientTLS(key, pub[:31]); err == nil {
		t.Error("a cut public key was taken")
	}
	if _, err := ServerTLS(nil, Cover{}, nil); err == nil {
		t.Error("no key was taken")
	}
	if _, err := PeerKey(tls.ConnectionState{}); err == nil {
		t.Error("no certificate was taken")
	}
}

// A server that has the right key and does not take the hello is of a release that knows no
// encrypted ones, if the name in the clear is the one that all others take.
func TestHelloIsNotTaken(t *testing.T) {
	server, _ := authKey("server")
	client, _ := authKey("client")
	for name, want := range map[string]string{"": "before 0.1.0", "www.example.org": "another server_name"} {
		old, err := ServerTLS(server, Cover{}, func([32]byte) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		old.EncryptedClientHelloKeys = nil
		g, err := NewGreeter(client, Cover{ServerName: name}, server.Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		cfg, turn := g.Config(time.Now())
		state, _, err, _ := authMeet(t, cfg, old)
		if got := g.Explain(state, turn, err); !strings.Contains(got.Error(), want) {
			t.Errorf("%q: %v", name, got)
		}
	}
}
