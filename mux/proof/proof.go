// Package proof has what tells a client from a stranger by the first bytes that it
// sends: a name inside an encrypted ClientHello (RFC 9849, which crypto/tls speaks)
// that only the holder of a configured key can have made. So it is known before
// anything is answered, and costs no round trip.
//
// The ClientHello is encrypted to the server's own Ed25519 key, read as an X25519 key
// (RFC 7748, Section 4.1: the birational map): the public key that stands in the
// client's file serves for both. The name proves the client's key by a MAC whose key is
// the X25519 secret of the two.
package proof

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// DefaultName is the name that an encrypted ClientHello shows where none is
// configured.
const DefaultName = "mpsocks.invalid"

// A name is base32 of: ID of the client (6), time in ms (6), nonce (8), MAC (16).
const (
	idLen   = 6
	macAt   = idLen + 6 + 8
	nameLen = macAt + 16
)

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// secretKey is the X25519 form of an Ed25519 key (RFC 8032, Section 5.1.5: the scalar
// is the first half of the seed's hash).
func secretKey(k ed25519.PrivateKey) (*ecdh.PrivateKey, error) {
	if len(k) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("the private key has %d bytes, not %d", len(k), ed25519.PrivateKeySize)
	}
	h := sha512.Sum512(k.Seed())
	return ecdh.X25519().NewPrivateKey(h[:32])
}

var prime = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))

// publicKey is the X25519 form of an Ed25519 public key: u = (1 + y) / (1 - y).
func publicKey(k ed25519.PublicKey) (*ecdh.PublicKey, error) {
	if len(k) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("the public key has %d bytes, not %d", len(k), ed25519.PublicKeySize)
	}
	b := slices.Clone(k)
	b[31] &= 0x7F // the sign of x
	slices.Reverse(b)
	y, one := new(big.Int).SetBytes(b), big.NewInt(1)
	below := new(big.Int).ModInverse(new(big.Int).Mod(new(big.Int).Sub(one, y), prime), prime)
	if below == nil {
		return nil, errors.New("the public key is the neutral point")
	}
	u := new(big.Int).Add(one, y)
	u.Mod(u.Mul(u, below), prime)
	out := u.FillBytes(make([]byte, 32))
	slices.Reverse(out)
	return ecdh.X25519().NewPublicKey(out)
}

// config is the ECHConfig (RFC 9849, Section 4) around a key.
func config(pub *ecdh.PublicKey, name string) []byte {
	k := pub.Bytes()
	id := sha256.Sum256(append(slices.Clone(k), name...))
	c := []byte{id[0]}
	c = binary.BigEndian.AppendUint16(c, 0x0020) // DHKEM(X25519, HKDF-SHA256)
	c = binary.BigEndian.AppendUint16(c, uint16(len(k)))
	c = append(c, k...)
	c = append(c, 0, 8, 0, 1, 0, 1, 0, 1, 0, 3) // HKDF-SHA256 with AES-128-GCM or ChaCha20Poly1305
	c = append(c, uint8(encoding.EncodedLen(nameLen)), uint8(len(name)))
	c = append(c, name...)
	c = append(c, 0, 0) // no extensions
	out := binary.BigEndian.AppendUint16([]byte{0xFE, 0x0D}, uint16(len(c)))
	return append(out, c...)
}

// ConfigList is what a client's tls.Config needs (EncryptedClientHelloConfigList) to
// speak to the server with that key. name is what others see.
func ConfigList(server ed25519.PublicKey, name string) ([]byte, error) {
	pub, err := publicKey(server)
	if err != nil {
		return nil, err
	}
	c := config(pub, name)
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(c))), c...), nil
}

// ServerConfig is the same for the server (tls.EncryptedClientHelloKey).
func ServerConfig(key ed25519.PrivateKey, name string) (cfg, secret []byte, err error) {
	k, err := secretKey(key)
	if err != nil {
		return nil, nil, err
	}
	return config(k.PublicKey(), name), k.Bytes(), nil
}

// id names a client inside the encryption.
func id(pub ed25519.PublicKey) [idLen]byte {
	h := sha256.Sum256(append([]byte("mpsocks client "), pub...))
	return [idLen]byte(h[:idLen])
}

// macKey is what both sides of a pair know and nobody else.
func macKey(own ed25519.PrivateKey, peer ed25519.PublicKey) ([]byte, error) {
	k, err := secretKey(own)
	if err != nil {
		return nil, err
	}
	p, err := publicKey(peer)
	if err != nil {
		return nil, err
	}
	secret, err := k.ECDH(p)
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, secret, nil, "mpsocks/1 hello", 32)
}

func mac(key, msg []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(msg)
	return h.Sum(nil)[:nameLen-macAt]
}

// A Prover makes one client's proofs for one server. It is safe for concurrent use.
type Prover struct {
	id  [idLen]byte
	key []byte
}

// NewProver prepares for a pair of keys.
func NewProver(own ed25519.PrivateKey, server ed25519.PublicKey) (*Prover, error) {
	k, err := macKey(own, server)
	if err != nil {
		return nil, err
	}
	return &Prover{id(own.Public().(ed25519.PublicKey)), k}, nil
}

// Name returns a proof as a server name. Each is good once.
func (p *Prover) Name(now time.Time) string {
	b := make([]byte, 0, nameLen)
	b = append(b, p.id[:]...)
	b = append(b, binary.BigEndian.AppendUint64(nil, uint64(now.UnixMilli()))[2:]...)
	b = b[:macAt]
	_, _ = rand.Read(b[macAt-8:]) // does not fail (crypto/rand.Read)
	return encoding.EncodeToString(append(b, mac(p.key, b)...))
}
