package conf

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// PrivateKey is an Ed25519 key, written as the base64 of its 32-byte seed. It
// converts to ed25519.PrivateKey. It prints as what it is, never as its value.
type PrivateKey ed25519.PrivateKey

// PublicKey is an Ed25519 public key, written as the base64 of its 32 bytes. It
// converts to ed25519.PublicKey.
type PublicKey ed25519.PublicKey

// Generate makes a fresh private key from the system's randomness.
func Generate() (PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate a key: %w", err)
	}
	return PrivateKey(key), nil
}

// parsePrivate reads the base64 of a 32-byte seed.
func parsePrivate(text string) (PrivateKey, error) {
	seed, err := parseKey(text)
	if err != nil {
		return nil, err
	}
	return PrivateKey(ed25519.NewKeyFromSeed(seed)), nil
}

// ParsePublic reads the base64 of 32 bytes, which are a point of the curve. The errors are for
// people.
func ParsePublic(text string) (PublicKey, error) {
	key, err := parseKey(text)
	if err == nil {
		err = checkPoint(key)
	}
	if err != nil {
		return nil, err
	}
	return PublicKey(key), nil
}

// parseKey decodes without ever repeating the text: it may be secret.
func parseKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, errors.New("is empty; `mpsocks keygen` makes a key pair")
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("is not base64; a key has 44 characters and ends in =")
	}
	if len(raw) != ed25519.SeedSize {
		return nil, fmt.Errorf("has %d bytes, a key has %d", len(raw), ed25519.SeedSize)
	}
	return raw, nil
}

// Public is the half to give away.
func (k PrivateKey) Public() PublicKey {
	if len(k) != ed25519.PrivateKeySize {
		return nil
	}
	return PublicKey(ed25519.PrivateKey(k).Public().(ed25519.PublicKey))
}

// Text is the secret itself, for writing it to a file of mode 0600.
func (k PrivateKey) Text() string {
	if len(k) != ed25519.PrivateKeySize {
		return ""
	}
	return base64.StdEncoding.EncodeToString(ed25519.PrivateKey(k).Seed())
}

// String keeps the key out of logs and messages.
func (k PrivateKey) String() string { return "(private key)" }

// GoString keeps the key out of %#v as well.
func (k PrivateKey) GoString() string { return k.String() }

// MarshalText keeps the key out of JSON.
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what Text writes; the empty text is no key.
func (k *PrivateKey) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*k = nil
		return nil
	}
	*k, err = parsePrivate(string(text))
	return err
}

// String is the base64 form.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k) }

// MarshalText is the base64 form.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what String writes; the empty text is no key.
func (k *PublicKey) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*k = nil
		return nil
	}
	*k, err = ParsePublic(string(text))
	return err
}
