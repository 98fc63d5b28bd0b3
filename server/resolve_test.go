package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/mux/packet"
)

func noNames(context.Context, string, string) ([]netip.Addr, error) { return nil, errors.New("none") }

// upstreams is a resolv.conf with these servers.
func upstreams(at ...netip.AddrPort) func() nameConfig {
	return func() nameConfig { return nameConfig{servers: at, ndots: 1} }
}

func question(name string, kind dnsmessage.Type) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 0x1234, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// dnsServer answers over UDP and TCP on one port with what reply makes of a
// query; nil is silence.
func dnsServer(t testing.TB, reply func(network string, m dnsmessage.Message) *dnsmessage.Message) netip.AddrPort {
	t.Helper()
	var ln net.Listener
	var c *net.UDPConn
	var at netip.AddrPort
	for range 100 { // until a port is free for both
		var err error
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		at = ln.Addr().(*net.TCPAddr).AddrPort()
		if c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); err == nil {
			break
		}
		ln.Close()
	}
	if c == nil {
		t.Fatal("no port for both UDP and TCP")
	}
	t.Cleanup(func() { ln.Close(); c.Close() })
	answer := func(network string, query []byte) []byte {
		var m dnsmessage.Message
		if m.Unpack(query) != nil {
			return nil
		}
		m.Response = true
		out := reply(network, m)
		if out == nil {
			return nil
		}
		b, err := out.Pack()
		if err != nil {
			panic(err)
		}
		return b
	}
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			query := bytes.Clone(b[:n])
			go func() { // a reply may wait
				if a := answer("udp", query); a != nil {
					guess := append([]byte{a[0] ^ 1}, a[1:]...) // somebody else's guess comes first
					_, _ = c.WriteToUDPAddrPort(guess, from)
					_, _ = c.WriteToUDPAddrPort(a, from)
				}
			}()
		}
	}()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			var size [2]byte
			_, _ = io.ReadFull(conn, size[:])
			b := make([]byte, binary.BigEndian.Uint16(size[:]))
			_, _ = io.ReadFull(conn, b)
			if a := answer("tcp", b); a != nil {
				_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
			}
			conn.Close()
		}
	}()
	return at
}

func addA(m dnsmessage.Message, ttl uint32, addrs ...string) *dnsmessage.Message {
	for _, a := range addrs {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: ttl},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
		})
	}
	return &m
}

// addAAAA adds IPv6 addresses to an answer.
func addAAAA(m dnsmessage.Message, ttl uint32, addrs ...string) *dnsmessage.Message {
	for _, a := range addrs {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: ttl},
			Body:   &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(a).As16()},
		})
	}
	return &m
}

func addrsOf(texts ...string) (out []netip.Addr) {
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

var sameAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func unpack(t testing.TB, b []byte) dnsmessage.Message {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	return m
}

func TestResolverForwards(t *testing.T) {
	var asked atomic.Int32
	at := dnsServer(t, func(network string, m dnsmessage.Message) *dnsmessage.Message {
		asked.Add(1)
		switch m.Questions[0].Name.String() {
		case "example.com.":
			return addA(m, 321, "192.0.2.1", "192.0.2.2")
		case "long.example.com.":
			if network == "udp" {
				m.Truncated = true
				return &m
			}
			var many []string
			for range 200 {
				many = append(many, "192.0.2.9")
			}
			return addA(m, 1, many...)
		case "flaky.example.com.":
			if asked.Load()%2 == 1 {
				m.RCode = dnsmessage.RCodeServerFailure
				return &m
			}
			return addA(m, 5, "192.0.2.3")
		case "single.lan.example.":
			if m.Questions[0].Type == dnsmessage.TypeA {
				return addA(m, 77, "192.0.2.7")
			}
			return &m
		}
		m.RCode = dnsmessage.RCodeNameError
		return &m
	})
	r := &resolver{
		put:  ask,
		life: t.Context(),
		hosts: func(_ context.Context, _, host string) ([]netip.Addr, error) {
			if host == "router.lan" {
				return []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.77")}, nil
			}
			return nil, errors.New("none")
		},
	}
	r.config = func() nameConfig {
		return nameConfig{servers: []netip.AddrPort{at}, search: []string{"none.example", "lan.example"}, ndots: 1}
	}
	for _, tt := range []struct {
		name    string
		kind    dnsmessage.Type
		rcode   dnsmessage.RCode
		answers int
		ttl     uint32
	}{
		{"example.com.", dnsmessage.TypeA, 0, 2, 321},
		{"EXAMPLE.com.", dnsmessage.TypeA, 0, 2, 321}, // the test's server minds case
		{"long.example.com.", dnsmessage.TypeA, 0, 200, 1},
		{"nowhere.example.com.", dnsmessage.TypeA, dnsmessage.RCodeNameError, 0, 0},
		{"nowhere.example.com.", dnsmessage.TypeMX, dnsmessage.RCodeNameError, 0, 0},
		{"router.lan.", dnsmessage.TypeA, 0, 1, hostsTTL},
		{"router.lan.", dnsmessage.TypeAAAA, 0, 0, 0}, // exists, without such an address
		{"single.", dnsmessage.TypeA, 0, 1, 77},       // completed by the search list
		{"single.", dnsmessage.TypeAAAA, 0, 0, 0},
		{"[2001:db8::5].", dnsmessage.TypeAAAA, 0, 1, hostsTTL},
		{"192.0.2.5.", dnsmessage.TypeA, 0, 1, hostsTTL},
		{".", dnsmessage.TypeNS, dnsmessage.RCodeNameError, 0, 0},
	} {
		reply := r.answer(t.Context(), question(tt.name, tt.kind))
		m := unpack(t, reply)
		if m.ID != 0x1234 || !m.Response || len(m.Questions) != 1 || m.Questions[0].Name.String() != tt.name {
			t.Errorf("%s: %v", tt.name, m.GoString())
		}
		if m.RCode != tt.rcode || len(m.Answers) != tt.answers || m.Truncated {
			t.Errorf("%s %v: %v, %d answers", tt.name, tt.kind, m.RCode, len(m.Answers))
		} else if len(m.Answers) > 0 && m.Answers[0].Header.TTL != tt.ttl {
			t.Errorf("%s: TTL %d", tt.name, m.Answers[0].Header.TTL)
		}
	}
	asked.Store(0)
	if m := unpack(t, r.answer(t.Context(), question("flaky.example.com.", dnsmessage.TypeA))); len(m.Answers) != 1 {
		t.Errorf("no second attempt: %v", m.GoString())
	}
}

func TestResolverFailures(t *testing.T) {
	r := &resolver{put: ask, life: t.Context(), config: upstreams(), hosts: noNames, system: noNames}
	notify := question("example.com.", dnsmessage.TypeA)
	notify[2] |= 4 << 3
	two := question("example.com.", dnsmessage.TypeA)
	two[5] = 2
	cut := question("example.com.", dnsmessage.TypeA)
	response := question("example.com.", dnsmessage.TypeA)
	response[2] |= 0x80
	for _, tt := range []struct {
		name  string
		query []byte
		want  dnsmessage.RCode
	}{
		{"no upstream", question("example.com.", dnsmessage.TypeA), dnsmessage.RCodeServerFailure},
		{"no upstream, MX", question("example.com.", dnsmessage.TypeMX), dnsmessage.RCodeServerFailure},
		{"opcode", notify, dnsmessage.RCodeNotImplemented},
		{"two questions", two, dnsmessage.RCodeFormatError},
		{"cut off", cut[:len(cut)-3], dnsmessage.RCodeFormatError},
	} {
		reply := r.answer(t.Context(), tt.query)
		if m := unpack(t, reply); m.RCode != tt.want || m.ID != 0x1234 || !m.Response {
			t.Errorf("%s: %v", tt.name, m.GoString())
		}
	}
	if r.answer(t.Context(), response) != nil {
		t.Error("a response was answered")
	}
	// A silent upstream and an ended context.
	silent, at := remoteUDP(t, "127.0.0.1")
	_ = silent
	r.config = upstreams(at)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if m := unpack(t, r.answer(ctx, question("example.com.", dnsmessage.TypeA))); m.RCode != dnsmessage.RCodeServerFailure {
		t.Errorf("%v", m.GoString())
	}
	if d := time.Since(start); d > queryTimeout/2 {
		t.Errorf("took %v", d)
	}
}

// TestResolverInTunnel asks as the client does, beyond the caps.
func TestResolverInTunnel(t *testing.T) {
	release := make(chan struct{})
	at := dnsServer(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		<-release
		return addA(m, 60, "192.0.2.1")
	})
	s := testServer(t, nil, func(s *Server) {
		s.resolver.config = upstreams(at)
		s.resolver.hosts = noNames
	})
	sess := newFakeSession()
	p := newPeer(s, "laptop", sess)
	s.resolver.asking.Cap(0, 2)
	to := netip.AddrPortFrom(packet.ServerHost4, packet.ResolverPort)
	for i := range 3 {
		p.Deliver([][]byte{makePacket(inner4(uint16(10+i)), to, 0, 0, question("example.com.", dnsmessage.TypeA))})
	}
	g := sess.next(t)
	if m := unpack(t, g.payload); m.RCode != dnsmessage.RCodeServerFailure || g.dst != inner4(12) || g.src != to {
		t.Errorf("beyond the cap: %+v", g)
	}
	close(release)
	dsts := map[netip.AddrPort]int{}
	for range 2 {
		g := sess.next(t)
		if m := unpack(t, g.payload); m.RCode != 0 || len(m.Answers) != 1 {
			t.Errorf("%v", m.GoString())
		}
		dsts[g.dst]++
	}
	if diff := cmp.Diff(map[netip.AddrPort]int{inner4(10): 1, inner4(11): 1}, dsts, sameGot); diff != "" {
		t.Error(diff)
	}
	eventually(t, "queries end", func() bool { return s.resolver.asking.Held() == 0 })
	if n := sess.turns.Load(); n != 2 {
		t.Errorf("two answers were sent in %d turns of the client", n)
	}
	p.Deliver([][]byte{makePacket(inner4(1), to, 0, 0, []byte("short"))})
	if diff := cmp.Diff(map[string]uint64{"queries": 1, "query": 1}, s.drops.snapshot()); diff != "" {
		t.Error(diff)
	}
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	c := &resolvConf{path: path}
	if got := c.read().servers; got != nil {
		t.Errorf("%v without a file", got)
	}
	text := "# comment\nnameserver 192.0.2.1\nsearch lan\n nameserver\t2001:db8::1 \nnameserver bad\nnameserver fe80::1%lo\nnameserver 192.0.2.4\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.checked = time.Time{}
	want := []string{"192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%lo]:53"}
	var got []string
	for _, a := range c.read().servers {
		got = append(got, a.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzAnswer(f *testing.F) {
	r := &resolver{put: ask, life: context.Background(), config: upstreams(), system: noNames}
	r.hosts = func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, nil
	}
	f.Add(question("example.com.", dnsmessage.TypeA), []byte{})
	f.Add(question("example.com.", dnsmessage.TypeAAAA), question("example.com.", dnsmessage.TypeAAAA))
	f.Add(question(".", dnsmessage.TypeNS), []byte{0, 0, 0x80, 3, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, query, reply []byte) {
		if len(query) < dnsHeaderLen {
			return
		}
		if a := r.answer(t.Context(), query); a != nil {
			if m := unpack(t, a); m.ID != binary.BigEndian.Uint16(query) || !m.Response {
				t.Fatalf("%v", m.GoString())
			}
		}
		var p dnsmessage.Parser
		if _, err := p.Start(query); err != nil {
			return
		}
		if q, err := p.Question(); err == nil {
			end := questionEnd(q)
			if end <= len(query) && responds(reply, query, end) && len(reply) < dnsHeaderLen {
				t.Fatal("short response accepted")
			}
		}
	})
}
