package handshake

import (
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/mux/proof"
)

// A Cover says what a subflow looks like to others, and what a server is to those who
// cannot prove a client's key in their ClientHello (mux/proof). Its zero value hides
// nothing: strangers get TLS alerts.
type Cover struct {
	// ALPN is offered in the clear, the same at both ends; none is mpsocks/1.
	ALPN []string
	// ServerName is the name in the clear, the same at both ends; "" is
	// proof.DefaultName.
	ServerName string
	// Upstream, server only, is host:port of what answers strangers: it gets their
	// bytes as they are. Silent instead says nothing to them at all.
	Upstream string
	Silent   bool
}

// Hides says that strangers are not answered.
func (c *Cover) Hides() bool { return c.Silent || c.Upstream != "" }

func (c *Cover) name() string {
	if c.ServerName == "" {
		return proof.DefaultName
	}
	return c.ServerName
}

// ErrOtherKey: the server has proved another of the keys that the client trusts.
var ErrOtherKey = errors.New("the server has another of its keys")

// A Greeter makes the TLS configurations of a client's subflows: each shows a fresh
// proof, encrypted to the server.
type Greeter struct {
	base     *tls.Config
	servers  []greeted
	ordinary bool         // its name in the clear is the one that each server takes
	turn     atomic.Int32 // which of the server's keys is tried
}

type greeted struct {
	key    [32]byte
	list   []byte
	prover *proof.Prover
}

// NewGreeter makes one for a client with that key, of a server that may have one of some
// keys.
func NewGreeter(key ed25519.PrivateKey, cover Cover, servers ...ed25519.PublicKey) (*Greeter, error) {
	base, err := ClientTLS(key, servers...)
	if err != nil {
		return nil, err
	}
	if len(cover.ALPN) > 0 {
		base.NextProtos = cover.ALPN
	}
	g := &Greeter{base: base, ordinary: cover.name() == proof.DefaultName}
	for _, s := range servers {
		list, err := proof.ConfigList(s, cover.name())
		if err != nil {
			return nil, fmt.Errorf("the server's public key: %w", err)
		}
		p, err := proof.NewProver(key, s)
		if err != nil {
			return nil, fmt.Errorf("the server's public key: %w", err)
		}
		g.servers = append(g.servers, greeted{[32]byte(s), list, p})
	}
	return g, nil
}

// Trusts says that a server may have that key.
func (g *Greeter) Trusts(key [32]byte) bool {
	return slices.ContainsFunc(g.servers, func(s greeted) bool { return s.key == key })
}

// Config returns the configuration of one connection, and what Explain asks for.
func (g *Greeter) Config(now time.Time) (c *tls.Config, turn int32) {
	turn = g.turn.Load()
	s := &g.servers[turn]
	c = g.base.Clone()
	c.ServerName, c.EncryptedClientHelloConfigList = s.prover.Name(now), s.list
	// Whose key it is, is known only behind this: Explain looks.
	c.EncryptedClientHelloRejectionVerify = func(tls.ConnectionState) error { return nil }
	return c, turn
}

// Explain says what a failed handshake means to a user. A server that could not read
// the hello may have another key that is trusted: the next hello is for that one.
func (g *Greeter) Explain(state tls.ConnectionState, turn int32, err error) error {
	if _, rejected := errors.AsType[*tls.ECHRejectionError](err); !rejected {
		return explainTLS(err)
	}
	n := int32(len(g.servers))
	got, err := PeerKey(state)
	i := slices.IndexFunc(g.servers, func(s greeted) bool { return s.key == got })
	switch {
	case err == nil && i == int(turn) && g.ordinary:
		return errors.New("the server has the right key and knows no encrypted hello: it is of a release before 0.1.0")
	case err == nil && i == int(turn):
		return errors.New("the server has the right key and does not take the hello: its `cover` has another server_name than this client's")
	case err == nil && i >= 0:
		g.turn.CompareAndSwap(turn, int32(i))
		return ErrOtherKey
	}
	g.turn.CompareAndSwap(turn, (turn+1)%n)
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	var want [][32]byte
	for _, s := range g.servers {
		want = append(want, s.key)
	}
	return fmt.Errorf("server's key is %s, expected %s", printKey(got), printKeys(want))
}

// apply has a server's configuration read encrypted hellos and agree on the cover's
// protocols.
func (c *Cover) apply(t *tls.Config, key ed25519.PrivateKey) error {
	names := []string{proof.DefaultName}
	if c.name() != proof.DefaultName {
		names = append(names, c.name())
	}
	for _, n := range names {
		cfg, secret, err := proof.ServerConfig(key, n)
		if err != nil {
			return err
		}
		t.EncryptedClientHelloKeys = append(t.EncryptedClientHelloKeys, tls.EncryptedClientHelloKey{Config: cfg, PrivateKey: secret})
	}
	t.NextProtos = append(slices.Clone(c.ALPN), t.NextProtos...)
	return nil
}
