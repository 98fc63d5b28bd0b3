package server

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

var (
	loop4, loop6 = netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	// private is refused by default.
	private = netip.MustParseAddr("192.168.77.1")
)

// mayPing skips a test where the system lets this process send no echo requests.
func mayPing(t *testing.T, at netip.Addr) {
	t.Helper()
	s, err := newPingSocket(at)
	if err != nil {
		t.Skip(err)
	}
	s.close()
}

func echoTo(from netip.AddrPort, to netip.Addr, seq uint16, ttl uint8, payload string) []byte {
	h := packet.Echo{Src: from.Addr(), Dst: to, TOS: 0x28, TTL: ttl, ID: from.Port(), Seq: seq}
	b := append(make([]byte, h.Overhead()), payload...)
	packet.PutEcho(b, &h)
	return b
}

// An echo request leaves, and its answer comes to who has asked, with the identifier and
// number that it was asked with: also where two clients, or two programs of one, use the
// same.
func TestPing(t *testing.T) {
	for _, f := range []struct {
		to   netip.Addr
		from func(uint16) netip.AddrPort
		own  netip.Addr
	}{{loop4, inner4, packet.ServerHost4}, {loop6, inner6, packet.ServerHost6}} {
		mayPing(t, f.to)
		s := testServer(t, nil, nil)
		one, two := newFakeSession(), newFakeSession()
		a, b := newPeer(s, "laptop", one), newPeer(s, "phone", two)
		a.Deliver([][]byte{echoTo(f.from(7), f.to, 1, 64, "from one")})
		b.Deliver([][]byte{echoTo(f.from(7), f.to, 1, 64, strings.Repeat("two", 1000))})
		for sess, want := range map[*fakeSession]string{one: "from one", two: strings.Repeat("two", 1000)} {
			var h packet.Echo
			payload, err := packet.ParseEcho(sess.nextICMP(t), &h)
			if err != nil || h.Src != f.to || h.Dst != f.from(7).Addr() || !h.Reply || h.ID != 7 || h.Seq != 1 || string(payload) != want || h.TTL != 64 {
				t.Errorf("got %+v with %d bytes, %v", h, len(payload), err)
			}
		}
		one.quietICMP(t)
		two.quietICMP(t)
		// The server itself, as a host in the tunnel.
		a.Deliver([][]byte{echoTo(f.from(8), f.own, 2, 1, "near")})
		var h packet.Echo
		if payload, err := packet.ParseEcho(one.nextICMP(t), &h); err != nil || h.Src != f.own || h.ID != 8 || !h.Reply || string(payload) != "near" {
			t.Errorf("got %+v %q, %v", h, payload, err)
		}
		if s.sent.Load() != 2 || s.received.Load() != 2 {
			t.Errorf("%d sent, %d received", s.sent.Load(), s.received.Load())
		}
	}
}

// What the rules refuse, what has no time left, what is a flood or no request goes no
// farther; the program is told of the first two.
func TestPingRefused(t *testing.T) {
	mayPing(t, loop4)
	s := testServer(t, func(c *conf.Server) {
		c.Relay.Allow = allow(t, "127.0.0.1/32", "192.168.77.0/24:53")
		c.Relay.Deny = allow(t, "203.0.113.0/24", "127.0.0.1:25")
	}, nil)
	sess := newFakeSession()
	p := newPeer(s, "laptop", sess)
	for _, x := range []struct {
		to   netip.Addr
		ttl  uint8
		want func(*packet.Failure, bool)
	}{
		{private, 64, (*packet.Failure).Prohibited},
		{netip.MustParseAddr("203.0.113.9"), 64, (*packet.Failure).Prohibited},
		{netip.MustParseAddr("127.0.0.2"), 64, (*packet.Failure).Prohibited},
		{loop4, 1, (*packet.Failure).Expired},
	} {
		p.Deliver([][]byte{echoTo(inner4(7), x.to, 9, x.ttl, "x")})
		want := packet.Failure{
			From: packet.ServerHost4, To: packet.ClientHost4, Proto: packet.ProtoICMP, Src: inner4(7), Dst: netip.AddrPortFrom(x.to, 9),
		}
		x.want(&want, true)
		var got packet.Failure
		if err := packet.ParseFailure(sess.nextICMP(t), &got); err != nil || got != want {
			t.Errorf("%s: told %+v, %v; want %+v", x.to, got, err, want)
		}
	}
	reply := packet.Echo{Src: packet.ClientHost4, Dst: loop4, TTL: 64, Reply: true, ID: 7}
	b := make([]byte, reply.Overhead())
	packet.PutEcho(b, &reply)
	p.Deliver([][]byte{b, echoTo(netip.MustParseAddrPort("10.0.0.1:7"), loop4, 1, 64, "x")})
	sess.quietICMP(t)
	if d := s.drops.snapshot(); d["packet"] != 1 || d["source"] != 1 || d["ttl"] != 1 || d["denied"] != 1 || d["refused"] != 2 {
		t.Errorf("drops %v", d)
	}
	flood := make([][]byte, 4*pingBurst)
	for i := range flood {
		flood[i] = echoTo(inner4(7), packet.ServerHost4, uint16(i), 64, "")
	}
	p.Deliver(flood)
	if n := s.drops.snapshot()["rate"]; n < 2*pingBurst {
		t.Errorf("of a flood of %d %d are dropped", len(flood), n)
	}
}

// Where the system lets the server ask nobody, requests are counted and the rest goes on.
func TestPingForbidden(t *testing.T) {
	s := testServer(t, nil, func(s *Server) {
		s.outlet.egress.bind, s.outlet.egress.fixed = "192.0.2.1", netip.MustParseAddr("192.0.2.1") // not this machine's
	})
	sess := newFakeSession()
	p := newPeer(s, "laptop", sess)
	p.Deliver([][]byte{echoTo(inner4(7), loop4, 1, 64, "x"), echoTo(inner4(7), loop4, 2, 64, "x"), echoTo(inner6(7), loop6, 2, 64, "x")})
	sess.quietICMP(t)
	if n := s.drops.snapshot()["echo"]; n != 3 {
		t.Errorf("%d dropped", n)
	}
}

// An answer counts once, from where the request went, and for its own request; a full table
// takes no more until the oldest have waited for long enough.
func TestPingSpoofed(t *testing.T) {
	mayPing(t, loop4)
	s := testServer(t, nil, nil)
	sess := newFakeSession()
	p := newPeer(s, "laptop", sess)
	a := s.pinger.of(true)
	quiet := netip.MustParseAddr("198.51.100.7")
	a.questions = make([]asked, maxQuestions)
	ask := func(seq uint16) {
		a.questions[seq%maxQuestions] = asked{peer: p, from: inner4(7), to: quiet, seq: 3, at: s.now()}
		a.next = seq + 1
	}
	ask(40000)
	a.answered(40000, quiet.Next(), 0, 64, []byte("spoofed"))
	a.answered(40001, quiet, 0, 64, []byte("not asked"))
	a.answered(40000-maxQuestions, quiet, 0, 64, []byte("long gone"))
	sess.quietICMP(t)
	a.answered(40000, quiet, 0, 64, []byte("answer"))
	a.answered(40000, quiet, 0, 64, []byte("again"))
	var h packet.Echo
	if payload, err := packet.ParseEcho(sess.nextICMP(t), &h); err != nil || string(payload) != "answer" || h.Seq != 3 {
		t.Errorf("got %+v %q, %v", h, payload, err)
	}
	sess.quietICMP(t)
	// What a router says of it.
	ask(5)
	a.failed(5, quiet, 12, 0) // a parameter problem is not carried
	a.failed(5, private, 3, 1)
	var f packet.Failure
	if err := packet.ParseFailure(sess.nextICMP(t), &f); err != nil || f.From != packet.ServerHost4 || f.Code != 1 || f.Dst != netip.AddrPortFrom(quiet, 3) {
		t.Errorf("told %+v, %v", f, err)
	}
	for i := range a.questions {
		a.questions[i] = asked{peer: p, from: inner4(7), to: quiet, at: s.now()}
	}
	u := s.uplinks.Get().(*uplink)
	u.now = s.now()
	if r := ping(u, p, echoTo(inner4(7), loop4, 1, 64, "x")); r != dropCap {
		t.Errorf("a full table: %v", r)
	}
	s.pinger.expire(s.now() + 2*int64(pingIdle))
	if r := ping(u, p, echoTo(inner4(7), loop4, 1, 64, "x")); r != dropNone {
		t.Errorf("a table that was full: %v", r)
	}
	sess.nextICMP(t)
}
