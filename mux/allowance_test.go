package mux

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/handshake"
)

// A client that comes without end waits for itself, and nobody else does.
func TestTurnsAreEachClientsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n allowances
		often, seldom := [32]byte{1}, [32]byte{2}
		begin := time.Now()
		for range handshakesAtOnce {
			if err := n.wait(t.Context(), often, false); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("%d at once take %v", handshakesAtOnce, d)
		}
		rate := handshakesPerCore * runtime.GOMAXPROCS(0)
		for range rate {
			if err := n.wait(t.Context(), often, false); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d < 990*time.Millisecond || d > 1010*time.Millisecond {
			t.Errorf("%d more take %v", rate, d)
		}
		begin = time.Now()
		if err := n.wait(t.Context(), seldom, false); err != nil || time.Since(begin) != 0 {
			t.Errorf("another client: %v, after %v", err, time.Since(begin))
		}
		begin = time.Now()
		if err := n.wait(t.Context(), often, true); err != nil || time.Since(begin) != 0 {
			t.Errorf("the same at an address that has proved a key before: %v, after %v", err, time.Since(begin))
		}
		// What all its sessions make the log have is bounded, too, and nobody else's lines are.
		if v := n.client(often).voice; v != n.client(often).voice || v == n.client(seldom).voice {
			t.Error("a client has not one voice, and of its own")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Microsecond)
		defer cancel()
		if n.wait(ctx, often, false) == nil {
			t.Error("a turn came before its time")
		}
		n.keep(map[[32]byte]string{seldom: "seldom"})
		if len(n.of) != 1 {
			t.Errorf("%d clients are remembered of one that is there", len(n.of))
		}
	})
}

// The same at a listener: a client's handshakes have a rate. In virtual time they cost
// nothing, and take what they wait.
func TestHandshakesOfOneClientHaveARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, key, _ := ed25519.GenerateKey(nil)
		_, serverKey, _ := ed25519.GenerateKey(nil)
		l, err := Listen(ListenerConfig{
			Key: serverKey, Clients: map[[32]byte]string{[32]byte(key.Public().(ed25519.PublicKey)): "test"}, Log: zerolog.Nop(),
		})
		if err != nil {
			t.Fatal(err)
		}
		g, err := handshake.NewGreeter(key, Cover{}, serverKey.Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancel(t.Context())
		l.ctx = ctx
		const beyond = 40
		begin := time.Now()
		var all sync.WaitGroup
		turn := make(chan struct{}, 32)
		for range handshakesAtOnce + beyond {
			turn <- struct{}{}
			all.Go(func() {
				defer func() { <-turn }()
				path := newSimPath(1e6, time.Microsecond)
				near, far := simPair(path.there, path.back)
				l.admit(ctx, far)
				cfg, _ := g.Config(time.Now())
				if err := tls.Client(near, cfg).Handshake(); err != nil {
					t.Error(err)
				}
				near.Close()
			})
		}
		all.Wait()
		least := beyond * time.Second / time.Duration(handshakesPerCore*runtime.GOMAXPROCS(0))
		if d := time.Since(begin); d < least*9/10 || d > least*11/10 {
			t.Errorf("%d handshakes of one client take %v, want %v", handshakesAtOnce+beyond, d, least)
		}
		end()
		l.tasks.Wait()
	})
}

// Who has a client's key and comes without end from elsewhere takes no handshakes from the addresses at which one
// was finished before.
func TestAClientsAddressesHaveTurnsOfTheirOwn(t *testing.T) {
	n := newLoopTunnel(t, 1, 1, nil) // from 127.0.0.1
	n.listener.allowances.client([32]byte(n.key.Public().(ed25519.PublicKey))).handshakes.SetBurst(0)
	g, err := handshake.NewGreeter(n.key, Cover{}, n.serverKey.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	for at, works := range map[byte]bool{1: true, 2: false} {
		cfg, _ := g.Config(time.Now())
		d := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, at)}}, Config: cfg}
		c, err := d.DialContext(t.Context(), "tcp", n.addr.String())
		if err == nil {
			c.Close()
		}
		if (err == nil) != works {
			t.Errorf("a handshake from 127.0.0.%d ends with %v", at, err)
		}
	}
}
