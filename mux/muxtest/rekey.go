// Package muxtest has what tests and hostile programs need of a peer that does not do as
// it should, and what tests of several rooms have in common.
package muxtest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
)

// A Rekeyer lies under a TLS 1.3 end and can say what crypto/tls never says by itself:
// KeyUpdates that ask for an answer (RFC 8446, Section 4.6.3). After the first one the
// end's tls.Conn cannot write any more.
type Rekeyer struct {
	net.Conn
	Quiet  bool // KeyUpdates ask for no answer
	log    bytes.Buffer
	count  bool
	seq    uint64 // records written with the present key
	secret []byte
}

// NewRekeyer puts one on a connection.
func NewRekeyer(c net.Conn) *Rekeyer { return &Rekeyer{Conn: c} }

// Client is TLS over it; its handshake is done.
func (r *Rekeyer) Client(cfg *tls.Config) (*tls.Conn, error) {
	cfg = cfg.Clone()
	cfg.KeyLogWriter = &r.log
	return r.begin(tls.Client(r, cfg), "CLIENT_TRAFFIC_SECRET_0")
}

// Server is the same for a server.
func (r *Rekeyer) Server(cfg *tls.Config) (*tls.Conn, error) {
	cfg = cfg.Clone()
	cfg.KeyLogWriter = &r.log
	cfg.SessionTicketsDisabled = true // they would be the first records
	return r.begin(tls.Server(r, cfg), "SERVER_TRAFFIC_SECRET_0")
}

func (r *Rekeyer) begin(t *tls.Conn, label string) (*tls.Conn, error) {
	if err := t.Handshake(); err != nil {
		return nil, err
	}
	if t.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		return nil, errors.New("a cipher suite that the rekeyer does not speak")
	}
	for line := range bytes.Lines(r.log.Bytes()) {
		f := bytes.Fields(line)
		if len(f) == 3 && string(f[0]) == label {
			r.secret, _ = hex.DecodeString(string(f[2]))
		}
	}
	if r.secret == nil {
		return nil, errors.New("no traffic secret was said")
	}
	r.count = true
	return t, nil
}

// Write counts the records that the end's tls.Conn writes.
func (r *Rekeyer) Write(p []byte) (int, error) {
	for b := p; r.count && len(b) >= 5; r.seq++ {
		b = b[min(5+int(binary.BigEndian.Uint16(b[3:])), len(b)):]
	}
	return r.Conn.Write(p)
}

// expand is HKDF-Expand-Label with an empty context (RFC 8446, Section 7.1).
func expand(secret []byte, label string, n int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(append(info, byte(6+len(label))), "tls13 "+label...)
	out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), n)
	if err != nil {
		panic(err) // of a length that is too large only
	}
	return out
}

// What a record carries inside (RFC 8446, Section 5.1).
const (
	handshake = 22
	data      = 23
)

// seal makes one record.
func (r *Rekeyer) seal(content byte, message []byte) []byte {
	block, err := aes.NewCipher(expand(r.secret, "key", 16))
	if err != nil {
		panic(err) // of a key of another length only
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	nonce := expand(r.secret, "iv", 12)
	var seq [8]byte
	binary.BigEndian.PutUint64(seq[:], r.seq)
	for i := range seq {
		nonce[4+i] ^= seq[i]
	}
	r.seq++
	inner := append(bytes.Clone(message), content)
	head := binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(inner)+aead.Overhead()))
	return aead.Seal(head, nonce, inner, head)
}

// KeyUpdates are the records of n KeyUpdates, each under the key that the last one began.
// crypto/tls takes few without any data between, so said comes with every eighth.
func (r *Rekeyer) KeyUpdates(n int, said []byte) (b []byte) {
	for i := range n {
		if i%8 == 0 {
			b = append(b, r.seal(data, said)...)
		}
		update := []byte{24, 0, 0, 1, 1} // key_update, update_requested
		if r.Quiet {
			update[4] = 0
		}
		b = append(b, r.seal(handshake, update)...)
		r.secret, r.seq = expand(r.secret, "traffic upd", len(r.secret)), 0
	}
	return b
}
