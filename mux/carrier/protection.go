package carrier

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
)

// Records of TLS 1.3 as they go once crypto/tls has done the handshakes. It copies what it
// protects before and after, what it opens as well, and takes two locks and a piece of memory for
// each record; here a record is sealed from where its bytes are into what goes to the
// kernel, and opened where the kernel has put it. Who is who, which suite and which
// secrets is crypto/tls's to negotiate, and the ciphers are those that it uses.

// What a record carries (RFC 8446, Section 5.1).
const (
	kindAlert     = 21
	kindHandshake = 22
	kindData      = 23
)

const (
	// recordHead is a record's type, version and length.
	recordHead = 5
	// maxCiphertext is the longest body of one (RFC 8446, Section 5.2).
	maxCiphertext = maxRecord + 256
	// recordMost is the longest one.
	recordMost = recordHead + maxCiphertext
)

// A suite is one of TLS 1.3's (RFC 8446, Appendix B.4).
type suite struct {
	hash func() hash.Hash
	key  int // bytes
	aead func(key []byte) (cipher.AEAD, error)
}

var suites = map[uint16]*suite{
	tls.TLS_AES_128_GCM_SHA256:       {sha256.New, 16, gcm},
	tls.TLS_AES_256_GCM_SHA384:       {sha512.New384, 32, gcm},
	tls.TLS_CHACHA20_POLY1305_SHA256: {sha256.New, chacha20poly1305.KeySize, chacha20poly1305.New},
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// expand is HKDF-Expand-Label with an empty context (RFC 8446, Section 7.1).
func (s *suite) expand(secret []byte, label string, n int) ([]byte, error) {
	label = "tls13 " + label
	info := append(binary.BigEndian.AppendUint16(nil, uint16(n)), byte(len(label)))
	return hkdf.Expand(s.hash, secret, string(append(append(info, label...), 0)), n)
}

// A protection is one direction's: a traffic secret and what follows from it.
type protection struct {
	suite  *suite
	secret []byte
	aead   cipher.AEAD
	iv     [12]byte
	nonce  [12]byte
	seq    uint64 // of the next record
}

// newProtection goes on behind the first seq records of a traffic secret.
func newProtection(id uint16, secret []byte, seq uint64) (*protection, error) {
	s := suites[id]
	if s == nil {
		return nil, fmt.Errorf("tls: cipher suite %04x", id)
	}
	if len(secret) != s.hash().Size() {
		return nil, errors.New("tls: crypto/tls has not said its traffic secrets")
	}
	p := &protection{suite: s, secret: secret}
	if err := p.begin(); err != nil {
		return nil, err
	}
	p.seq = seq
	return p, nil
}

// begin derives the keys of the present secret (RFC 8446, Section 7.3).
func (p *protection) begin() error {
	key, err := p.suite.expand(p.secret, "key", p.suite.key)
	if err != nil {
		return err
	}
	iv, err := p.suite.expand(p.secret, "iv", len(p.iv))
	if err != nil {
		return err
	}
	p.aead, err = p.suite.aead(key)
	p.iv, p.seq = [12]byte(iv), 0
	return err
}

// update goes on to the next secret (RFC 8446, Section 7.2).
func (p *protection) update() (err error) {
	if p.secret, err = p.suite.expand(p.secret, "traffic upd", len(p.secret)); err != nil {
		return err
	}
	return p.begin()
}

// next is the nonce of the next record (RFC 8446, Section 5.3).
func (p *protection) next() []byte {
	p.nonce = p.iv
	at := p.nonce[4:]
	binary.BigEndian.PutUint64(at, binary.BigEndian.Uint64(at)^p.seq)
	p.seq++
	return p.nonce[:]
}

// seal appends a record that carries plain, at most maxRecord bytes. over says that there is
// room for one more byte behind plain, which may be written over: then it is not copied.
func (p *protection) seal(out []byte, kind byte, plain []byte, over bool) []byte {
	n := len(plain) + 1
	body := n + p.aead.Overhead()
	at := len(out)
	out = slices.Grow(out, recordHead+body)[:at+recordHead]
	head := out[at:]
	head[0], head[1], head[2] = kindData, 3, 3
	binary.BigEndian.PutUint16(head[3:], uint16(body))
	inner := plain
	if over {
		inner = plain[:n]
	} else {
		inner = out[at+recordHead:][:n]
		copy(inner, plain)
	}
	inner[n-1] = kind
	return p.aead.Seal(out, p.next(), inner, head)
}

var (
	errRecordMAC = errors.New("tls: bad record MAC")
	errNoKind    = errors.New("tls: a record that carries nothing")
)

// within is how much a whole record of n bytes has within, with its kind.
func (p *protection) within(n int) int { return n - recordHead - p.aead.Overhead() }

// open opens a whole record into other memory, or where it is.
func (p *protection) open(record, into []byte) (plain []byte, kind byte, err error) {
	head, body := record[:recordHead], record[recordHead:]
	if into == nil {
		into = body
	}
	plain, err = p.aead.Open(into[:0], p.next(), body, head)
	if err != nil {
		return nil, 0, errRecordMAC
	}
	for n := len(plain) - 1; n >= 0; n-- { // behind zeros that fill it up
		if plain[n] != 0 {
			return plain[:n], plain[n], nil
		}
	}
	return nil, 0, errNoKind
}
