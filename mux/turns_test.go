package mux

import (
	"bytes"
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
		var n turns
		often, seldom := [32]byte{1}, [32]byte{2}
		begin := time.Now()
		for range turnsAtOnce {
			if err := n.wait(t.Context(), often); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("%d at once take %v", turnsAtOnce, d)
		}
		rate := turnsPerCore * runtime.GOMAXPROCS(0)
		for range rate {
			if err := n.wait(t.Context(), often); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d < 990*time.Millisecond || d > 1010*time.Millisecond {
			t.Errorf("%d more take %v", rate, d)
		}
		begin = time.Now()
		if err := n.wait(t.Context(), seldom); err != nil || time.Since(begin) != 0 {
			t.Errorf("another client: %v, after %v", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Microsecond)
		defer cancel()
		if n.wait(ctx, often) == nil {
			t.Error("a turn came before its time")
		}
		n.keep(map[[32]byte]string{seldom: "seldom"})
		if len(n.of) != 1 {
			t.Errorf("%d clients are remembered of one that is there", len(n.of))
		}
	})
}

// The same at a listener: a client's handshakes have a rate.
func TestHandshakesOfOneClientHaveARate(t *testing.T) {
	n := newLoopTunnel(t, 1, 1, nil)
	g, err := handshake.NewGreeter(n.key, Cover{}, n.serverKey.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	const beyond = 40
	begin := time.Now()
	var all sync.WaitGroup
	turn := make(chan struct{}, 32)
	for range turnsAtOnce + beyond {
		turn <- struct{}{}
		all.Go(func() {
			defer func() { <-turn }()
			c, err := net.Dial("tcp", n.addr.String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			cfg, _ := g.Config(time.Now())
			if err := tls.Client(c, cfg).Handshake(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	least := time.Duration(beyond) * time.Second / time.Duration(turnsPerCore*runtime.GOMAXPROCS(0))
	if d := time.Since(begin); d < least*9/10 {
		t.Errorf("%d handshakes of one client take %v", turnsAtOnce+beyond, d)
	}
}

// What one client brings about is some lines in the log, whatever it does; another one's are
// there.
func TestLinesOfAClientAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n turns
		var out bytes.Buffer
		log := zerolog.New(&out).Level(zerolog.InfoLevel)
		say := func(client byte, text string) int {
			out.Reset()
			for range 1000 { // a session for each, all of one client
				tell(&Session{log: log, lines: n.client([32]byte{client}).lines}, zerolog.InfoLevel).Msg(text)
			}
			return bytes.Count(out.Bytes(), []byte(text))
		}
		if k := say(1, "often"); k != linesAtOnce {
			t.Errorf("%d lines", k)
		}
		if k := say(2, "another"); k != linesAtOnce {
			t.Errorf("%d lines of another client", k)
		}
		time.Sleep(10 * linesEvery)
		if k := say(1, "later"); k != 10 {
			t.Errorf("%d lines later", k)
		}
	})
}
