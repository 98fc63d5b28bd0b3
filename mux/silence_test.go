package mux

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/dialer"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/handshake"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// A simServer is a server in virtual time, with an address and a path of its own. It knows one
// session, and sends back each datagram.
type simServer struct {
	at    netip.AddrPort
	path  simPath
	key   mptcp.Key
	cfg   *tls.Config
	ctx   context.Context
	tasks *sync.WaitGroup
	got   *collector

	mu sync.Mutex // guards s
	s  *Session   // nil before somebody has opened it
}

// An addressed connection is one to a server that has an address.
type addressed struct {
	*simConn
	at netip.AddrPort
}

func (c addressed) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.at) }

// dial is a connection to the server.
func (v *simServer) dial() net.Conn {
	a, b := simPair(v.path.there, v.path.back)
	v.tasks.Go(func() {
		if v.welcome(b) != nil {
			b.Close()
		}
	})
	return addressed{a, v.at}
}

func (v *simServer) session() *Session {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.s
}

// welcome opens the session, or has a subflow join it.
func (v *simServer) welcome(c net.Conn) error {
	k := carrier.NewTLS(c, engine.MinLowat)
	if err := k.Server(v.ctx, v.cfg); err != nil {
		return err
	}
	first, err := handshake.ReadFirst(k)
	if err != nil {
		return err
	}
	s := v.session()
	switch {
	case first.Subtype == mptcp.MPCapable:
		r, err := handshake.AcceptCapable(k, &first, v.key, false)
		if err != nil {
			return err
		}
		s = newSession(sessionConfig{handler: v.got})
		v.got.reply.Store(s)
		s.establish(v.key, r.Remote, r.Checksum)
		v.tasks.Go(func() { s.monitor.run(v.ctx) })
		v.mu.Lock()
		v.s = s
		v.mu.Unlock()
	case s == nil || first.Join.Token != v.key.Token():
		return handshake.Refuse(k, mptcp.ReasonMPTCP)
	default:
		keys := s.keys()
		par := handshake.Params{Local: keys.local, Remote: keys.remote, Ack: s.space.next.Load()}
		if err := handshake.AcceptJoin(k, &first, par); err != nil {
			return err
		}
	}
	return s.attach(newSubflow(s, s.core.pathOf(first.Join.AddrID, v.at), k, s.keys()))
}

// between plays a client of two servers, with a path of three subflows to each. The session is
// with the first one.
func between(t *testing.T, play func(c *Client, near *collector, first, second *simServer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		_, ck, _ := ed25519.GenerateKey(nil)
		_, sk, _ := ed25519.GenerateKey(nil)
		far, err := handshake.ServerTLS(sk, Cover{}, func([32]byte) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var tasks sync.WaitGroup
		var servers []*simServer
		var addresses []string
		for i := range 2 {
			v := &simServer{
				at: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 443), path: newSimPath(50, 20*time.Millisecond),
				key: mptcp.Key(i + 1), cfg: far, ctx: ctx, tasks: &tasks, got: newCollector(),
			}
			servers, addresses = append(servers, v), append(addresses, v.at.String())
		}
		near := newCollector()
		c, err := NewClient(ClientConfig{
			Key: ck, ServerKey: sk.Public().(ed25519.PublicKey), Addresses: addresses, Paths: []Path{{Name: "a", Subflows: 3}},
			Handler: near, Log: zerolog.Nop(),
			dial: func(_ context.Context, _ *dialer.Way, _ int, a netip.AddrPort) (net.Conn, error) {
				if a == servers[0].at {
					return servers[0].dial(), nil
				}
				return servers[1].dial(), nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		tasks.Go(func() { c.Run(ctx) })
		time.Sleep(3 * time.Second)
		if servers[0].session() == nil || servers[1].session() != nil {
			t.Fatal("the session is not with the first server")
		}
		play(c, near, servers[0], servers[1])
		cancel()
		for _, v := range servers {
			v.path.revive()
			if s := v.session(); s != nil {
				s.Close(ErrClosed)
			}
		}
		tasks.Wait()
		time.Sleep(10 * time.Second) // what is under way arrives nowhere
	})
}

// A server that is silent for a moment keeps its session, though another one answers at once
// and is dialled meanwhile: what was under way comes late and is not lost.
func TestShortSilenceOfAServer(t *testing.T) {
	for _, silent := range []time.Duration{100, 300, 500, 600} {
		between(t, func(c *Client, near *collector, first, second *simServer) {
			time.AfterFunc(400*time.Millisecond, first.path.kill)
			time.AfterFunc(400*time.Millisecond+silent*time.Millisecond, first.path.revive)
			const n = 1000
			sendEvery(c.session, n, 200, 2*time.Millisecond)
			time.Sleep(3 * time.Second)
			there, _ := first.got.missing(n)
			back, twice := near.missing(n)
			t.Logf("silent for %d ms: %d lost there, %d in all, %d twice", silent, there, back, twice)
			if second.session() != nil || back > 0 || twice > 0 {
				t.Errorf("the second server has the session: %v", second.session() != nil)
			}
		})
	}
}

// One that stays silent loses it, within a second. What it may have had does not go to the next one: it would
// come twice.
func TestLongSilenceOfAServer(t *testing.T) {
	between(t, func(c *Client, near *collector, first, second *simServer) {
		const dies = 400 * time.Millisecond
		moved := make(chan time.Duration, 1)
		time.AfterFunc(dies, func() {
			first.path.kill()
			at := time.Now()
			for second.session() == nil {
				time.Sleep(time.Millisecond)
			}
			moved <- time.Since(at)
		})
		const n = 1000
		sendEvery(c.session, n, 200, 2*time.Millisecond)
		time.Sleep(3 * time.Second)
		lost, twice := 0, 0
		for i := range uint64(n) {
			switch k := first.got.times(i) + second.got.times(i); {
			case k > 1:
				twice++
			case k == 0 && i >= 2*n/3:
				lost++
			}
		}
		took := <-moved
		t.Logf("moved after %v; of the last third %d lost, of all %d twice", took, lost, twice)
		if took > time.Second || lost > 0 || twice > 0 {
			t.Error("it is late, or something is lost after it, or comes twice")
		}
	})
}
