package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/handshake"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/muxtest"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A server that breaks the rules towards a client which trusts its key.

// An evil is one subflow of it, after its handshakes.
type evil struct {
	*subflow
	rekey *muxtest.Rekeyer
}

// evils are what it does, one on each subflow in turn, until an error.
var evils = []func(s *evil) error{
	func(s *evil) error { // data far beyond what may be in flight
		s.dsn += 1 << 40
		_, err := s.Write(s.frame(nil, answer(nil)))
		return err
	},
	func(s *evil) error { // a frame that never ends, of bytes that are no packet
		d := mptcp.DSS{HasMap: true, DSN8: true, DSN: s.dsn, SSN: 1, Length: 65535}
		_, err := s.Write(append(d.Append(nil), make([]byte, 60000)...))
		return err
	},
	func(s *evil) error { // holes: every other packet, so that all is kept or nothing
		for range 40_000 {
			s.dsn += 2000
			if _, err := s.Write(s.frame(nil, answer(make([]byte, 1000)))); err != nil {
				return err
			}
		}
		return nil
	},
	func(s *evil) error { // addresses that are nobody's business, with good proofs
		for i := range 5000 {
			a := mptcp.AddAddr{ID: uint8(i), Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Port: 22}
			a.HMAC = mptcp.AddAddrHMAC(s.local, s.remote, a.ID, a.Addr, a.Port)
			if _, err := s.Write(a.Append(nil)); err != nil {
				return err
			}
		}
		return nil
	},
	func(s *evil) error {
		_, err := s.Write((&mptcp.Reset{Reason: mptcp.Reason(rand.N(8))}).Append(nil))
		return err
	},
	func(s *evil) error { // a FASTCLOSE that is not the session's, and one that is
		_, err := s.Write((&mptcp.FastClose{Receiver: s.remote ^ 1}).Append(nil))
		return errors.Join(err, func() error { _, err := s.Write((&mptcp.FastClose{Receiver: s.remote}).Append(nil)); return err }())
	},
	func(s *evil) error { // probes without end, each to be answered
		p := (&mptcp.Experimental{Type: 1}).Append(nil)
		for range 100_000 {
			if _, err := s.Write(p); err != nil {
				return err
			}
		}
		return nil
	},
	func(s *evil) error {
		for range 200 {
			if _, err := s.rekey.Conn.Write(s.rekey.KeyUpdates(64, (&mptcp.DSS{HasAck: true, Ack8: true, Ack: 1}).Append(nil))); err != nil {
				return err
			}
		}
		return nil
	},
	func(s *evil) error { // half a record
		_, err := s.rekey.Conn.Write(append([]byte{23, 3, 3, 0x40, 0}, make([]byte, 8<<10)...))
		time.Sleep(time.Second)
		return err
	},
	func(s *evil) error { // answers to questions that nobody asked, with many addresses
		for i := range 2000 {
			if _, err := s.Write(s.frame(nil, answer(manyAddresses(uint16(i), 1200)))); err != nil {
				return err
			}
		}
		return nil
	},
	func(s *evil) error { // segments of streams that nobody opened
		for i := range 20_000 {
			h := packet.TCP{
				Src: exitAt, Dst: netip.AddrPortFrom(inside, uint16(i)), Flags: packet.FlagSYN | packet.FlagACK,
				Seq: rand.Uint32(), Ack: rand.Uint32(), TTL: 64, Bare: true, Window: 65535,
			}
			b := make([]byte, packet.TCPOverhead(h.Dst.Addr(), 0)+1000)
			packet.PutTCP(b, &h)
			if _, err := s.Write(s.frame(nil, b)); err != nil {
				return err
			}
		}
		return nil
	},
	func(s *evil) error { _, err := s.Write([]byte{30, 40, 0xE0, 1, 2, 3}); return err },
}

// answer is a datagram of the name server inside the tunnel.
func answer(payload []byte) []byte {
	h := packet.UDP{Src: netip.AddrPortFrom(packet.ServerHost4, 53), Dst: netip.AddrPortFrom(inside, 53), TTL: 64}
	b := make([]byte, h.Overhead(len(payload))+len(payload))
	copy(b[h.Overhead(len(payload)):], payload)
	packet.PutUDP(b, &h)
	return b
}

// manyAddresses is a DNS answer with n addresses of the name a.test.
func manyAddresses(id uint16, n int) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	b = append(b, 0x81, 0x80, 0, 1, byte(n>>8), byte(n), 0, 0, 0, 0)
	b = append(b, "\x01a\x04test\x00\x00\x01\x00\x01"...)
	for i := range n {
		b = append(b, 0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, byte(i>>8), byte(i))
	}
	return b
}

// serveEvil takes one connection of the client, does the handshakes as a server does, and
// then what is next.
func serveEvil(c net.Conn, cfg *tls.Config, keys *evilKeys, turn *atomic.Int64) error {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	r := muxtest.NewRekeyer(c)
	t, err := r.Server(cfg)
	if err != nil {
		return err
	}
	first, err := handshake.ReadFirst(t)
	if err != nil {
		return err
	}
	s := &evil{&subflow{Conn: t, local: keys.own, ssn: 1}, r}
	if first.Subtype == mptcp.MPJoin {
		remote := mptcp.Key(keys.remote.Load())
		if err := handshake.AcceptJoin(t, &first, handshake.Params{Local: keys.own, Remote: remote}); err != nil {
			return err
		}
		s.remote = remote
	} else {
		got, err := handshake.AcceptCapable(t, &first, keys.own, false)
		if err != nil {
			return err
		}
		keys.remote.Store(uint64(got.Remote))
		s.remote = got.Remote
	}
	s.dsn = keys.own.IDSN() + 1
	go func() { _, _ = io.Copy(io.Discard, t) }()
	n := turn.Add(1)
	err = evils[n%int64(len(evils))](s)
	time.Sleep(100 * time.Millisecond)
	return err
}

type evilKeys struct {
	own    mptcp.Key
	remote atomic.Uint64
}

// underEvil runs a client with a server that breaks the rules, and then with an honest one
// in its place: meanwhile it has to stay small and to answer applications, and afterwards
// to work.
func underEvil(program string, d time.Duration) (said string, broken []string) {
	fail := func(err error) (string, []string) { return "", []string{err.Error()} }
	dir, err := os.MkdirTemp("", "hostile")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return fail(err)
	}
	p := &pair{dir: dir, program: program, at: l.Addr().String(), socks: fmt.Sprintf("127.0.0.1:%d", freePort())}
	if out, err := exec.Command(program, "init", "--server", p.at, "--dir", dir).CombinedOutput(); err != nil {
		return fail(fmt.Errorf("init: %w: %s", err, out))
	}
	if err := p.edit(); err != nil {
		return fail(err)
	}
	server, err := conf.LoadServer(filepath.Join(dir, "server.yaml"))
	if err != nil {
		return fail(err)
	}
	cfg, err := handshake.ServerTLS(ed25519.PrivateKey(server.PrivateKey), handshake.Cover{}, func([32]byte) bool { return true })
	if err != nil {
		return fail(err)
	}
	if p.echo, err = echo(); err != nil {
		return fail(err)
	}
	defer p.echo.Close()
	keys := &evilKeys{own: handshake.NewKey()}
	var turn, whole atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				if serveEvil(c, cfg, keys, &turn) == nil {
					whole.Add(1)
				}
			}()
		}
	}()
	if p.client, err = run(program, dir, "client"); err != nil {
		return fail(err)
	}
	defer p.client.stop()
	most, slowest := p.client.peak(), time.Duration(0)
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		begin := time.Now()
		a, err := p.associate(p.socks)
		if err != nil {
			continue // it may be just starting
		}
		_, _ = a.udp.Write(append(bytes.Clone(a.to), "hello"...))
		slowest = max(slowest, time.Since(begin))
		a.close()
	}
	state, peak := p.client.state(), most()
	l.Close()
	if p.server, err = run(program, dir, "server"); err != nil {
		return fail(err)
	}
	defer p.server.stop()
	back := p.until(p.socks)
	said = fmt.Sprintf("%d subflows got what is wrong; client: %s, at most %d MiB; an association takes %v at most; with an honest server it works after %v",
		turn.Load(), state, peak>>20, slowest.Round(time.Millisecond), back.Round(time.Millisecond))
	switch {
	case !p.client.alive():
		broken = append(broken, "the client has died")
	case int(turn.Load()) < len(evils):
		broken = append(broken, fmt.Sprintf("only %d of %d rules were broken", turn.Load(), len(evils)))
	case peak > 200<<20:
		broken = append(broken, fmt.Sprintf("the client had %d MiB", peak>>20))
	case back > 10*time.Second:
		broken = append(broken, "it does not come back")
	}
	return said, broken
}
