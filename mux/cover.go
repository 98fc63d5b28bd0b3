package mux

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/gate"
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

func (c *Cover) hides() bool { return c.Silent || c.Upstream != "" }

func (c *Cover) name() string {
	if c.ServerName == "" {
		return proof.DefaultName
	}
	return c.ServerName
}

// errOtherKey: the server has proved another of the keys that the client trusts.
var errOtherKey = errors.New("the server has another of its keys")

// A greeter makes the TLS configurations of a client's subflows: each shows a fresh
// proof, encrypted to the server.
type greeter struct {
	base    *tls.Config
	servers []greeted
	turn    atomic.Int32 // which of the server's keys is tried
}

type greeted struct {
	key    [32]byte
	list   []byte
	prover *proof.Prover
}

func newGreeter(key ed25519.PrivateKey, cover Cover, servers ...ed25519.PublicKey) (*greeter, error) {
	base, err := clientTLS(key, servers...)
	if err != nil {
		return nil, err
	}
	if len(cover.ALPN) > 0 {
		base.NextProtos = cover.ALPN
	}
	g := &greeter{base: base}
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

// config returns the configuration of one connection, and what explain asks for.
func (g *greeter) config(now time.Time) (c *tls.Config, turn int32) {
	turn = g.turn.Load()
	s := &g.servers[turn]
	c = g.base.Clone()
	c.ServerName, c.EncryptedClientHelloConfigList = s.prover.Name(now), s.list
	// Whose key it is, is known only behind this: explain looks.
	c.EncryptedClientHelloRejectionVerify = func(tls.ConnectionState) error { return nil }
	return c, turn
}

// explain says what a failed handshake means to a user. A server that could not read
// the hello may have another key that is trusted: the next hello is for that one.
func (g *greeter) explain(state tls.ConnectionState, turn int32, err error) error {
	if _, rejected := errors.AsType[*tls.ECHRejectionError](err); !rejected {
		return explainTLS(err)
	}
	n := int32(len(g.servers))
	got, err := peerKey(state)
	i := slices.IndexFunc(g.servers, func(s greeted) bool { return s.key == got })
	switch {
	case err == nil && i == int(turn):
		return errors.New("the server has the right key and does not take the hello: its `cover` has another server_name than this client's")
	case err == nil && i >= 0:
		g.turn.CompareAndSwap(turn, int32(i))
		return errOtherKey
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

// coverTLS has a server's configuration read encrypted hellos and agree on the cover's
// protocols.
func coverTLS(t *tls.Config, key ed25519.PrivateKey, cover Cover) error {
	names := []string{proof.DefaultName}
	if cover.name() != proof.DefaultName {
		names = append(names, cover.name())
	}
	for _, n := range names {
		cfg, secret, err := proof.ServerConfig(key, n)
		if err != nil {
			return err
		}
		t.EncryptedClientHelloKeys = append(t.EncryptedClientHelloKeys, tls.EncryptedClientHelloKey{Config: cfg, PrivateKey: secret})
	}
	t.NextProtos = append(slices.Clone(cover.ALPN), t.NextProtos...)
	return nil
}

// errStranger ends a handshake before anything was answered.
var errStranger = errors.New("no proof of a client's key")

const (
	// guests is how many strangers the upstream serves at once.
	guests = 1024
	// upstreamTimeout is how long it may take to connect to it.
	upstreamTimeout = 5 * time.Second
)

// stranger gives a connection that is no client's to the upstream, or keeps silent
// until its time is over. The place is left.
func (l *Listener) stranger(ctx context.Context, k *carrier.TLS, place *gate.Place) error {
	cover := &l.live.Load().Cover
	if cover.Upstream == "" {
		_, err := io.Copy(io.Discard, k.TCP())
		k.TCP().Close()
		return err
	}
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	guest, _ := l.guests.Enter(carrier.AddrPort(k.RemoteAddr()).Addr(), time.Now(), leave)
	place.Leave()
	defer k.TCP().Close()
	if guest == nil {
		return errTooMany
	}
	defer guest.Leave()
	d := net.Dialer{Timeout: upstreamTimeout}
	d.SetMultipathTCP(false)
	up, err := d.DialContext(ctx, "tcp", cover.Upstream)
	if err != nil {
		return fmt.Errorf("cover's upstream: %w", err)
	}
	defer up.Close()
	stop := context.AfterFunc(ctx, func() { up.Close(); k.TCP().Close() })
	defer stop()
	k.TCP().SetDeadline(time.Time{})
	if _, err := up.Write(k.Heard()); err != nil {
		return err
	}
	var both sync.WaitGroup
	both.Go(func() { pass(up, k.TCP()) })
	both.Go(func() { pass(k.TCP(), up) })
	both.Wait()
	return errStranger
}

// pass copies until src ends, and passes the end on.
func pass(dst, src net.Conn) {
	_, err := io.Copy(dst, src)
	if c, ok := dst.(*net.TCPConn); ok && err == nil {
		_ = c.CloseWrite()
		return
	}
	dst.Close()
}
