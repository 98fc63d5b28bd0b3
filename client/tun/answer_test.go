package tun

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// asking is a question for addresses of big.test, whose answer may have so many bytes; 0 = it does not
// say.
func asking(t *testing.T, size uint16) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("big.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	if size > 0 {
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(int(size), dnsmessage.RCodeSuccess, false); err != nil {
			t.Fatal(err)
		}
		m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// answering is the answer with n addresses, and more behind them.
func answering(t *testing.T, n int) []byte {
	t.Helper()
	name := dnsmessage.MustNewName("big.test.")
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, Response: true, RecursionAvailable: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	h := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 60}
	for i := range n {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, byte(i)}}})
	}
	m.Authorities = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.NSResource{NS: name}}}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestAnswersFit: a program gets no more than it has room for, and is told when there is more.
func TestAnswersFit(t *testing.T) {
	for _, tt := range []struct {
		size uint16
		n    int
		cut  bool
	}{
		{0, 5, false}, {0, 100, true}, {100, 100, true}, {1232, 5, false}, {1232, 70, false}, {1232, 100, true}, {4096, 100, false}, {65535, 100, false},
	} {
		whole := answering(t, tt.n)
		most := room(asking(t, tt.size))
		got := fit(bytes.Clone(whole), most)
		if want := max(512, int(tt.size)); most != want {
			t.Errorf("room for %d of %d", most, tt.size)
		}
		var m dnsmessage.Message
		if err := m.Unpack(got); err != nil {
			t.Fatalf("%d addresses for %d: %v", tt.n, tt.size, err)
		}
		if len(got) > most || m.Truncated != tt.cut || !tt.cut && !bytes.Equal(got, whole) {
			t.Errorf("%d addresses for %d: %d bytes, %v", tt.n, tt.size, len(got), m.Truncated)
		}
		if tt.cut && (len(m.Answers) != (most-len(asking(t, 0)))/16 || len(m.Authorities) != 0) { // 16 bytes each, as their name is a pointer
			t.Errorf("%d addresses for %d: %d are left, and %d", tt.n, tt.size, len(m.Answers), len(m.Authorities))
		}
	}
}

// TestAnswersFitTheirQuestion has a program ask by UDP: what comes for its socket has the size that it has
// asked for.
func TestAnswersFitTheirQuestion(t *testing.T) {
	names := netip.AddrPortFrom(packet.ServerHost4, packet.ResolverPort)
	for _, named := range []netip.AddrPort{names, dst4} { // the resolver itself, and one that it answers for
		d, tunnel, kernel := newDevice()
		d.CaptureNames(func(a netip.Addr) bool { return a == dst4.Addr() })
		for i, size := range []uint16{0, 1232, 4096} {
			take(d, &vnet{}, udp(src4, named, string(asking(t, size)), 0, 64))
			whole := answering(t, 100)
			h := packet.UDP{Src: names, Dst: src4, TTL: 64}
			pkt := append(make([]byte, h.Overhead(len(whole))), whole...)
			packet.PutUDP(pkt, &h)
			give(tunnel.ports[0].to.UDP, &h, pkt, pkt[len(pkt)-len(whole):])
			var n network
			var g datagram
			b := kernel.pkts[i]
			if !n.parse(b) || !g.parse(b, &n, true) || g.src != named || g.end != len(b) {
				t.Fatalf("not a sound packet of %s: % x", named, b)
			}
			var m dnsmessage.Message
			if err := m.Unpack(b[g.payload:]); err != nil || len(b)-g.payload > max(512, int(size)) || m.Truncated != (size < 4096) {
				t.Errorf("for %d: %d bytes, %v, %v", size, len(b)-g.payload, m.Truncated, err)
			}
		}
		// Nobody else's answers are touched.
		whole := answering(t, 100)
		h := packet.UDP{Src: netip.MustParseAddrPort("203.0.113.8:53"), Dst: src4, TTL: 64}
		pkt := append(make([]byte, h.Overhead(len(whole))), whole...)
		packet.PutUDP(pkt, &h)
		if give(tunnel.ports[0].to.UDP, &h, pkt, pkt[len(pkt)-len(whole):]); named == names {
			if b := kernel.pkts[3]; !bytes.HasSuffix(b, whole) {
				t.Errorf("%d bytes are left of another server's", len(b))
			}
		}
	}
}

// FuzzFit: whatever is called an answer, it grows by nothing, and what was one stays one.
func FuzzFit(f *testing.F) {
	f.Add([]byte("\x00\x07\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01\xc0\x0c"), 30)
	f.Fuzz(func(t *testing.T, b []byte, most int) {
		if n := room(b); n < leastRoom || n > 65535 {
			t.Fatalf("room for %d", n)
		}
		before := bytes.Clone(b)
		got := fit(b, most)
		if len(got) > len(before) || len(before) <= most && !bytes.Equal(got, before) {
			t.Fatalf("% x of % x for %d", got, before, most)
		}
		if len(got) == len(before) {
			return
		}
		var p dnsmessage.Parser
		h, err := p.Start(got)
		if err != nil || !h.Truncated || len(got) > most || p.SkipAllQuestions() != nil || p.SkipAllAnswers() != nil || !bytes.Equal(got[8:12], make([]byte, 4)) {
			t.Fatalf("% x of % x for %d is none", got, before, most)
		}
	})
}
