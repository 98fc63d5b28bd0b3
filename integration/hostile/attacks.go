package main

import (
	"crypto/ed25519"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
)

var attacks = []attack{
	{name: "nothing", what: "no attack: a process that waits, as a control", run: nothing, control: true},
	{name: "silent", what: "600 connections that say nothing, anew whenever one is closed", run: silent},
	{name: "strangers", what: "5,000 ClientHellos a second from everywhere that prove nothing, on the server's cores", run: strangers, shares: true},
	{name: "garbage", what: "connections that send what is not TLS, and halves of a ClientHello", run: garbage},
	{name: "replay", what: "a client's first bytes, recorded and sent again from everywhere", run: replay},
	{name: "provers", what: "a client's proofs from everywhere, and nothing behind them", run: provers},
	{name: "churn", what: "sessions opened and ended without end", run: churn},
	{name: "options", what: "MP_PRIO, ADD_ADDR and REMOVE_ADDR without end", run: options},
	{name: "sessions", what: "60 sessions of one key opened at once, of which 16 are allowed", run: sessions},
	{name: "joins", what: "joins with a wrong proof, with a token that nobody has, and without end", run: joins},
	{name: "partial", what: "one byte of a frame on each of 120 subflows", run: partial},
	{name: "halves", what: "half a TLS record on each of 120 subflows", run: halves},
	{name: "deaf", what: "datagrams of 2,100 bytes that are echoed, and nothing of it acknowledged", run: deaf},
	{name: "mappings", what: "a mapping for each of 20,000 sources inside the tunnel", run: mappings},
	{name: "segments", what: "segments of streams that were never opened", run: segments},
	{name: "unread", what: "CONNECTs whose answers nobody reads, and to what does not read", run: unread},
	{name: "lists", what: "flows whose order is lost by the thousand, each once, so that the server keeps a list for each", run: lists},
	{name: "early", what: "ACKs without end before a SYN that never comes", run: early},
	{name: "rekeys", what: "TLS KeyUpdates without end, that want answers which nobody reads, or none", run: rekeys},
	{name: "violations", what: "frames that break the protocol, a session for each", run: violations},
	{name: "mix", what: "one client of twenty: unread, early, rekeys, partial, halves, deaf and mappings at once", run: mix, crowd: 19},
}

// each runs f on n goroutines until the time is over, and returns how often it was so
// and how often it was not.
func each(n int, until time.Time, f func() bool) (yes, no int64) {
	var y, k atomic.Int64
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for time.Now().Before(until) {
				if f() {
					y.Add(1)
				} else {
					k.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return y.Load(), k.Load()
}

func silent(p *attacker, until time.Time) (string, string) {
	n, _ := each(600, until, func() bool {
		c, err := dial(p.at)
		if err != nil {
			time.Sleep(50 * time.Millisecond)
			return false
		}
		defer c.Close()
		_ = c.SetReadDeadline(until)
		_, _ = io.Copy(io.Discard, c)
		time.Sleep(200 * time.Millisecond)
		return true
	})
	return fmt.Sprintf("%d connections", n), ""
}

// hello is the first flight of a TLS client of that configuration.
func hello(cfg *tls.Config) []byte {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	r := &recorder{Conn: near}
	go func() { _ = tls.Client(r, cfg).Handshake() }()
	b := make([]byte, 1<<14)
	n, err := io.ReadAtLeast(far, b, 5)
	for err == nil && n < 5+int(binary.BigEndian.Uint16(b[3:])) {
		var k int
		k, err = far.Read(b[n:])
		n += k
	}
	return b[:n]
}

// from is an address of loopback's: a stranger's home.
func from() *net.TCPAddr {
	return &net.TCPAddr{IP: net.IPv4(127, byte(1+rand.N(200)), byte(rand.N(250)), byte(1+rand.N(250)))}
}

// strangers does no TLS of its own, so that what is measured is the server's: ClientHellos
// made before, every other one encrypted to the server's key with a proof that is spent.
func strangers(p *attacker, until time.Time) (string, string) {
	_, key, _ := ed25519.GenerateKey(nil)
	says := [][]byte{hello(plain(key)), hello(p.asClient())}
	if c, err := dial(p.at); err == nil { // spends the proof
		_, _ = c.Write(says[1])
		_, _ = c.Read(make([]byte, 1))
		c.Close()
	}
	turn := make(chan int, 64)
	go func() {
		defer close(turn)
		begin := time.Now()
		for n := 0; time.Now().Before(until); time.Sleep(time.Millisecond) {
			for due := int(time.Since(begin).Seconds() * 5000); n < due; n++ {
				turn <- n
			}
		}
	}()
	var answered, closed, failed atomic.Int64
	var wg sync.WaitGroup
	for range 300 {
		wg.Go(func() {
			b := make([]byte, 1)
			for n := range turn {
				c, err := dialFrom(from(), p.at)
				if err != nil {
					failed.Add(1)
					continue
				}
				_, _ = c.Write(says[n%2])
				_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				if _, err := c.Read(b); err == nil {
					answered.Add(1)
				} else {
					closed.Add(1)
				}
				_ = c.SetLinger(0)
				c.Close()
			}
		})
	}
	begin := time.Now()
	wg.Wait()
	s := time.Since(begin).Seconds()
	return fmt.Sprintf("%.0f a second, of which %.0f were answered and %.0f could not connect",
		float64(answered.Load()+closed.Load()+failed.Load())/s, float64(answered.Load())/s, float64(failed.Load())/s), ""
}

func garbage(p *attacker, until time.Time) (string, string) {
	says := [][]byte{[]byte("GET / HTTP/1.0\r\n\r\n"), {0x16, 3, 1, 0x40, 0, 1, 0, 0x3F, 0xFC, 3, 3}, {0x80, 0x2E, 1}, make([]byte, 4096)}
	var k atomic.Int64
	n, _ := each(50, until, func() bool {
		c, err := dial(p.at)
		if err != nil {
			return false
		}
		defer c.Close()
		_, _ = c.Write(says[k.Add(1)%int64(len(says))])
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = io.Copy(io.Discard, c)
		return true
	})
	return fmt.Sprintf("%d connections", n), ""
}

// recorder keeps what is written first.
type recorder struct {
	net.Conn
	first []byte
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.first == nil {
		r.first = append(r.first, b...)
	}
	return r.Conn.Write(b)
}

func replay(p *attacker, until time.Time) (string, string) {
	c, err := dial(p.at)
	if err != nil {
		return "", err.Error()
	}
	r := &recorder{Conn: c}
	t := tls.Client(r, p.asClient())
	err = t.Handshake()
	t.Close()
	if err != nil {
		return "", "the first time it does not work: " + err.Error()
	}
	n, _ := each(20, until, func() bool {
		c, err := dialFrom(from(), p.at)
		if err != nil {
			return false
		}
		defer c.Close()
		_, _ = c.Write(r.first)
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, _ = io.Copy(io.Discard, c)
		return true
	})
	return fmt.Sprintf("sent %d times", n), ""
}

func sessions(p *attacker, until time.Time) (string, string) {
	var subs []*subflow
	for range 60 {
		if s, err := p.secure(); err == nil {
			subs = append(subs, s)
			defer s.Close()
		}
	}
	var opened atomic.Int64
	var wg sync.WaitGroup
	for _, s := range subs {
		wg.Go(func() {
			if s.capable() == nil {
				opened.Add(1)
			}
		})
	}
	wg.Wait()
	broken := ""
	if opened.Load() > 16 {
		broken = fmt.Sprintf("%d sessions of one key were opened", opened.Load())
	}
	return fmt.Sprintf("%d of %d were opened", opened.Load(), len(subs)), broken
}

func joins(p *attacker, until time.Time) (string, string) {
	s, err := p.open()
	if err != nil {
		return "", err.Error()
	}
	defer s.Close()
	if t, err := p.joinTo(s, 1, true); err == nil {
		t.Close()
		return "", "a join with a wrong HMAC counted"
	}
	other := *s
	other.remote ^= 1
	if t, err := p.joinTo(&other, 1, false); err == nil {
		t.Close()
		return "", "a join with an unknown token counted"
	}
	n := 0
	for time.Now().Before(until) {
		t, err := p.joinTo(s, 1, false)
		if err != nil {
			break
		}
		defer t.Close()
		n++
	}
	broken := ""
	if n > 63 {
		broken = fmt.Sprintf("%d subflows in one session", n)
	}
	return fmt.Sprintf("wrong ones refused; %d right ones until it was full", n), broken
}

func partial(p *attacker, until time.Time) (string, string) {
	n := 0
	for range 2 {
		s, err := p.open()
		if err != nil {
			continue
		}
		defer s.Close()
		all := []*subflow{s}
		for len(all) < 60 {
			t, err := p.joinTo(s, 1, false)
			if err != nil {
				break
			}
			defer t.Close()
			all = append(all, t)
		}
		for _, t := range all {
			_, _ = t.Write([]byte{30})
		}
		n += len(all)
	}
	time.Sleep(time.Until(until))
	return fmt.Sprintf("%d subflows", n), ""
}

func datagram(src, dst netip.AddrPort, n int) []byte {
	h := packet.UDP{Src: src, Dst: dst, TTL: 64}
	b := make([]byte, h.Overhead(n)+n)
	packet.PutUDP(b, &h)
	return b
}

var inside = netip.MustParseAddr("198.18.0.2")

func deaf(p *attacker, until time.Time) (string, string) {
	var sent atomic.Int64
	to := netip.MustParseAddrPort(p.theirs.LocalAddr().String())
	var wg sync.WaitGroup
	for range 4 {
		s, err := p.open()
		if err != nil {
			continue
		}
		wg.Go(func() {
			defer s.Close()
			_ = s.SetDeadline(until)
			go func() { _, _ = io.Copy(io.Discard, s) }()
			for i := 0; time.Now().Before(until) && i < 40_000; i++ {
				pkt := datagram(netip.AddrPortFrom(inside, uint16(5000+i%16)), to, 1900)
				if _, err := s.Write(s.frame(nil, pkt)); err != nil {
					return
				}
				sent.Add(int64(len(pkt)))
			}
			time.Sleep(time.Until(until))
		})
	}
	wg.Wait()
	return fmt.Sprintf("%d MiB asked for", sent.Load()>>20), ""
}

func mappings(p *attacker, until time.Time) (string, string) {
	s, err := p.open()
	if err != nil {
		return "", err.Error()
	}
	defer s.Close()
	_ = s.SetDeadline(until)
	go func() { _, _ = io.Copy(io.Discard, s) }()
	to := netip.MustParseAddrPort(p.theirs.LocalAddr().String())
	n := 0
	for i := 0; i < 20_000 && time.Now().Before(until); i++ {
		if _, err := s.Write(s.frame(nil, datagram(netip.AddrPortFrom(inside, uint16(1024+i)), to, 10))); err != nil {
			break
		}
		n++
	}
	time.Sleep(time.Until(until))
	return fmt.Sprintf("%d sources", n), ""
}

func segments(p *attacker, until time.Time) (string, string) {
	s, err := p.open()
	if err != nil {
		return "", err.Error()
	}
	defer s.Close()
	_ = s.SetDeadline(until)
	go func() { _, _ = io.Copy(io.Discard, s) }()
	n := 0
	for ; time.Now().Before(until); n++ {
		h := packet.TCP{
			Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 0, 2}), uint16(n)), Dst: netip.MustParseAddrPort("198.18.0.1:1080"),
			Flags: packet.FlagACK, Seq: uint32(n), TTL: 64, Bare: true,
		}
		b := make([]byte, packet.TCPOverhead(h.Dst.Addr(), 0))
		packet.PutTCP(b, &h)
		if _, err := s.Write(s.frame(nil, b)); err != nil {
			break
		}
	}
	return fmt.Sprintf("%d segments", n), ""
}

func violations(p *attacker, until time.Time) (string, string) {
	pkt := func() []byte {
		return datagram(netip.AddrPortFrom(inside, 5000), netip.MustParseAddrPort("192.0.2.9:9"), 64)
	}
	say := []func(s *subflow) []byte{
		func(s *subflow) []byte { s.ssn += 5; return s.frame(nil, pkt()) },
		func(s *subflow) []byte { s.dsn += 1 << 40; return s.frame(nil, pkt()) },
		func(s *subflow) []byte { return s.frame(nil, make([]byte, 65535)) },
		func(s *subflow) []byte { return (&mptcp.FastClose{Receiver: s.remote ^ 1}).Append(nil) },
		func(s *subflow) []byte { return (&mptcp.Capable{Phase: mptcp.PhaseSYN, Version: 1}).Append(nil) },
		func(s *subflow) []byte { return []byte{30, 40, 0xE0, 1, 2, 3} },
		func(s *subflow) []byte { return []byte{31, 0, 0, 0} },
	}
	n := 0
	for time.Now().Before(until) {
		s, err := p.open()
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		_, _ = s.Write(say[n%len(say)](s))
		_ = s.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, _ = io.Copy(io.Discard, s)
		s.Close()
		n++
	}
	return fmt.Sprintf("%d sessions", n), ""
}
