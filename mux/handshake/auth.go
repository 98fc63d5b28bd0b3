package handshake

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Who is who: every subflow is TLS 1.3 with both sides authenticated by pinned
// Ed25519 keys. The certificates around the keys are made in memory, carry no
// names and no expiry that matters, and nothing in them is believed but the key
// that the handshake proved.

// alpn is the protocol inside TLS; a new wire format gets a new name.
const alpn = "mpsocks/1"

// ClientTLS returns the configuration of a client with key that talks to servers
// with one of the public keys and to nobody else.
func ClientTLS(key ed25519.PrivateKey, servers ...ed25519.PublicKey) (*tls.Config, error) {
	var want [][32]byte
	for _, s := range servers {
		if len(s) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("the server's public key has %d bytes, not %d", len(s), ed25519.PublicKeySize)
		}
		want = append(want, [32]byte(s))
	}
	if len(want) == 0 {
		return nil, errors.New("no public key of the server")
	}
	c, err := pinnedTLS(key)
	if err != nil {
		return nil, err
	}
	// The chain and the name are not looked at: VerifyConnection pins the key.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		got, err := PeerKey(cs)
		if err != nil {
			return fmt.Errorf("server: %w", err)
		}
		if !slices.Contains(want, got) {
			return fmt.Errorf("server's key is %s, expected %s", printKey(got), printKeys(want))
		}
		return checkALPN(cs, c.NextProtos)
	}
	return c, nil
}

// An UnknownKeyError is what a server says to a client whose key it does not know.
type UnknownKeyError struct {
	Key string // the public one, in base64
}

func (e *UnknownKeyError) Error() string {
	return "client's key " + e.Key + " is not among the configured clients"
}

// ServerTLS returns the configuration of a server with key that talks to the
// clients whose public keys are known, and looks like its cover. known is called by
// several goroutines.
func ServerTLS(key ed25519.PrivateKey, cover Cover, known func(pub [32]byte) bool) (*tls.Config, error) {
	c, err := pinnedTLS(key)
	if err != nil {
		return nil, err
	}
	c.ClientAuth = tls.RequireAnyClientCert
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		got, err := PeerKey(cs)
		if err != nil {
			return fmt.Errorf("client: %w", err)
		}
		if !known(got) {
			return &UnknownKeyError{printKey(got)}
		}
		return checkALPN(cs, c.NextProtos)
	}
	return c, cover.apply(c, key)
}

// pinnedTLS is what both sides have in common.
func pinnedTLS(key ed25519.PrivateKey) (*tls.Config, error) {
	cert, err := selfSigned(key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{alpn},
		// With certificates this small resumption saves nothing, and each
		// subflow shall prove its key anew.
		SessionTicketsDisabled: true,
		// Records are sized by the writer, whole frames in each.
		DynamicRecordSizingDisabled: true,
	}, nil
}

// selfSigned makes the certificate around key. It is valid for as long as
// certificates can say: hosts without a clock (a router at boot) must connect.
func selfSigned(key ed25519.PrivateKey) (tls.Certificate, error) {
	if len(key) != ed25519.PrivateKeySize {
		return tls.Certificate{}, fmt.Errorf("the private key has %d bytes, not %d", len(key), ed25519.PrivateKeySize)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280, Section 4.1.2.5
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate from the private key: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// PeerKey returns the Ed25519 public key that the peer has proved to hold.
func PeerKey(cs tls.ConnectionState) (pub [32]byte, err error) {
	if len(cs.PeerCertificates) == 0 {
		return pub, errors.New("sent no certificate")
	}
	key, ok := cs.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok || len(key) != len(pub) {
		return pub, fmt.Errorf("has a key of type %v, not Ed25519: it is not mpsocks", cs.PeerCertificates[0].PublicKeyAlgorithm)
	}
	return [32]byte(key), nil
}

// NoCertificate says that a server's handshake failed since the client sent no
// certificate, as browsers do. crypto/tls has no type for it, only its text.
func NoCertificate(err error) bool {
	return strings.Contains(err.Error(), "tls: client didn't provide a certificate")
}

func checkALPN(cs tls.ConnectionState, protos []string) error {
	if !slices.Contains(protos, cs.NegotiatedProtocol) {
		return fmt.Errorf("peer does not speak %s", alpn)
	}
	return nil
}

func printKey(k [32]byte) string { return base64.StdEncoding.EncodeToString(k[:]) }

func printKeys(keys [][32]byte) string {
	texts := make([]string, len(keys))
	for i, k := range keys {
		texts[i] = printKey(k)
	}
	return strings.Join(texts, " or ")
}

// TLS alerts (RFC 8446, Section 6.2) that say something to a user.
const (
	alertBadCertificate = 42  // crypto/tls sends it when VerifyConnection fails
	alertNoProtocol     = 120 // no ALPN in common
)

// explainTLS turns an error of a client's TLS handshake, or of its first read
// (in TLS 1.3 the client is done before the server has judged its key), into
// one that tells the user what to do.
func explainTLS(err error) error {
	switch e, alert := remoteAlert(err); {
	case !alert:
		if head, ok := errors.AsType[tls.RecordHeaderError](err); ok && head.Conn != nil {
			return fmt.Errorf("the server does not speak TLS: is it the right port? (%w)", err)
		}
		return err
	case e == alertBadCertificate:
		return fmt.Errorf("the server does not know this client's key: add its public key to the server's clients (%w)", err)
	case e == alertNoProtocol:
		return fmt.Errorf("the server does not speak %s: is it the right address? (%w)", alpn, err)
	}
	return err
}

// remoteAlert returns the TLS alert that the peer sent. crypto/tls wraps it as
// an unexported type of kind uint8, so it is taken by its kind.
func remoteAlert(err error) (uint8, bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" || op.Err == nil {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return uint8(v.Uint()), true
}
