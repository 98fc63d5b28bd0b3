package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"

	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/proof"
)

// A subflow is one of a client that breaks rules, made by hand: nothing here is the
// product's but the codecs and the proof.
type subflow struct {
	*tls.Conn
	local, remote mptcp.Key
	dsn           uint64
	ssn           uint32
}

func dial(at string) (*net.TCPConn, error) { return dialFrom(nil, at) }

// dialFrom connects from an address, nil for any.
func dialFrom(from *net.TCPAddr, at string) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	if from != nil {
		d.LocalAddr = from
	}
	d.SetMultipathTCP(false)
	c, err := d.Dial("tcp", at)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// plain is TLS as it is spoken to a server, with a key and without a proof.
func plain(key ed25519.PrivateKey) *tls.Config {
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		panic(err) // of our own making
	}
	return &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"mpsocks/1"},
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, DynamicRecordSizingDisabled: true,
	}
}

// asClient is the same with a fresh proof of the pair's client's key.
func (p *attacker) asClient() *tls.Config {
	key, server := ed25519.PrivateKey(p.cfg.PrivateKey), ed25519.PublicKey(p.cfg.Server.Keys()[0])
	c := plain(key)
	prover, err := proof.NewProver(key, server)
	if err != nil {
		panic(err) // the product has taken them
	}
	c.ServerName = prover.Name(time.Now())
	if c.EncryptedClientHelloConfigList, err = proof.ConfigList(server, proof.DefaultName); err != nil {
		panic(err)
	}
	return c
}

// secure connects and does the TLS handshake as the client.
func (p *attacker) secure() (*subflow, error) {
	c, err := dial(p.at)
	if err != nil {
		return nil, err
	}
	t := tls.Client(c, p.asClient())
	_ = t.SetDeadline(time.Now().Add(10 * time.Second))
	if err := t.Handshake(); err != nil {
		c.Close()
		return nil, err
	}
	return &subflow{Conn: t}, nil
}

// open opens a session.
func (p *attacker) open() (*subflow, error) {
	s, err := p.secure()
	if err != nil {
		return nil, err
	}
	if err := s.capable(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func readOption(r io.Reader, o *mptcp.Option) error {
	var b [mptcp.MaxLen]byte
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return err
	}
	if b[1] < 2 || int(b[1]) > len(b) {
		return fmt.Errorf("option of %d bytes", b[1])
	}
	if _, err := io.ReadFull(r, b[2:b[1]]); err != nil {
		return err
	}
	_, err := o.Parse(b[:b[1]], false)
	return err
}

func (s *subflow) capable() error {
	var k [8]byte
	_, _ = rand.Read(k[:])
	s.local = mptcp.Key(binary.BigEndian.Uint64(k[:]))
	c := mptcp.Capable{Phase: mptcp.PhaseSYN, Version: mptcp.Version, Flags: mptcp.FlagSHA256}
	if _, err := s.Write(c.Append(nil)); err != nil {
		return err
	}
	var o mptcp.Option
	if err := readOption(s, &o); err != nil {
		return err
	}
	if o.Subtype != mptcp.MPCapable {
		return fmt.Errorf("refused: %s", o.Subtype)
	}
	s.remote = o.Capable.Sender
	c.Phase, c.Sender, c.Receiver = mptcp.PhaseACK, s.local, s.remote
	s.dsn, s.ssn = s.local.IDSN()+1, 1
	_, err := s.Write(c.Append(nil))
	_ = s.SetDeadline(time.Time{})
	return err
}

// joinTo adds a subflow to a session; bad spoils the proof.
func (p *attacker) joinTo(s *subflow, id uint8, bad bool) (*subflow, error) {
	t, err := p.secure()
	if err != nil {
		return nil, err
	}
	if _, err := t.Write((&mptcp.Join{Phase: mptcp.PhaseSYN, AddrID: id, Token: s.remote.Token(), Nonce: 7}).Append(nil)); err != nil {
		return nil, err
	}
	var o mptcp.Option
	if err := readOption(t, &o); err != nil {
		return nil, err
	}
	if o.Subtype != mptcp.MPJoin {
		t.Close()
		return nil, fmt.Errorf("refused: %s", o.Subtype)
	}
	a := mptcp.Join{Phase: mptcp.PhaseACK}
	h := mptcp.JoinHMAC(s.local, s.remote, 7, o.Join.Nonce)
	copy(a.HMAC[:], h[:])
	if bad {
		a.HMAC[3] ^= 1
	}
	if _, err := t.Write(a.Append(nil)); err != nil {
		return nil, err
	}
	if err := readOption(t, &o); err != nil {
		return nil, err
	}
	if o.Subtype != mptcp.MPDSS {
		t.Close()
		return nil, fmt.Errorf("refused: %s", o.Subtype)
	}
	t.local, t.remote, t.ssn = s.local, s.remote, 1
	_ = t.SetDeadline(time.Time{})
	return t, nil
}

// frame appends a mapping around pkt.
func (s *subflow) frame(b, pkt []byte) []byte {
	d := mptcp.DSS{HasMap: true, DSN8: true, DSN: s.dsn, SSN: s.ssn, Length: uint16(len(pkt))}
	s.dsn += uint64(len(pkt))
	s.ssn += uint32(len(pkt))
	return append(d.Append(b), pkt...)
}
