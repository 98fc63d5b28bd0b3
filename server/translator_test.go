package server

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/server/names/namestest"
)

// The prefix of a network's own NAT64 is read from what its name servers make of a name
// with IPv4 addresses only, in each length (RFC 6052, Section 2.4 has these examples).
func TestTranslatorsAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"2001:db8:c000:aa::":            "2001:db8::/32",
		"2001:db8:1c0:0:aa::":           "2001:db8:100::/40",
		"2001:db8:122:c000:0:aa00::":    "2001:db8:122::/48",
		"2001:db8:122:3c0:0:ab::":       "2001:db8:122:300::/56",
		"2001:db8:122:344:c0:0:aa00::":  "2001:db8:122:344::/64",
		"2001:db8:122:344::192.0.0.171": "2001:db8:122:344::/96",
		"64:ff9b::192.0.0.170":          "64:ff9b::/96",
		"2001:db8::1":                   "",
		"::ffff:192.0.0.170":            "",
		"192.0.0.170":                   "",
	} {
		a := netip.MustParseAddr(text)
		got := translatorsOf([]netip.Addr{a, a})
		if want == "" && len(got) > 0 || want != "" && !slices.Equal(got, translators{netip.MustParsePrefix(want)}) {
			t.Errorf("%s: %v, want %s", text, got, want)
		}
	}
	many := make([]netip.Addr, 0, 100)
	for i := range 100 {
		a := netip.MustParseAddr("2001:db8:0:344::192.0.0.171").As16()
		a[5] = byte(i)
		many = append(many, netip.AddrFrom16(a))
	}
	if n := len(translatorsOf(many)); n != mostTranslators {
		t.Errorf("%d prefixes are believed", n)
	}
}

// What is refused, denied or the server's own is so through the network's own NAT64 as well,
// once it is known, and the rest of the prefix is the internet.
func TestAccessThroughANetworksTranslator(t *testing.T) {
	s := testServer(t, func(cfg *conf.Server) {
		cfg.Relay.Allow = nil
		cfg.Relay.Deny = allow(t, "203.0.113.0/24")
		cfg.Relay.OwnAddresses = []netip.Addr{netip.MustParseAddr("198.51.100.1")}
	}, nil)
	verdict := func(text string) dropReason {
		return s.rules.current.Load().verdict(netip.AddrPortFrom(netip.MustParseAddr(text), 80))
	}
	const prefix = "2001:db8:64::"
	if got := verdict(prefix + "127.0.0.1"); got != dropNone {
		t.Fatalf("before the prefix is known: %v", got)
	}
	s.rules.translated(translatorsOf([]netip.Addr{netip.MustParseAddr(prefix + "192.0.0.170")}))
	for to, want := range map[string]dropReason{
		"127.0.0.1": dropRefused, "10.1.2.3": dropRefused, "169.254.169.254": dropRefused, "203.0.113.9": dropDenied,
		"198.51.100.1": dropOwn, "192.0.2.1": dropNone,
	} {
		if got := verdict(prefix + to); got != want {
			t.Errorf("%s%s: %v, want %v", prefix, to, got, want)
		}
	}
	s.rules.mu.Lock()
	s.rules.refresh() // as the watch of the interfaces does
	s.rules.mu.Unlock()
	if got := verdict(prefix + "127.0.0.1"); got != dropRefused {
		t.Errorf("after a look at the interfaces: %v", got)
	}
	s.rules.translated(nil)
	if got := verdict(prefix + "127.0.0.1"); got != dropNone {
		t.Errorf("after another network's: %v", got)
	}
}

// The name servers are asked at the start.
func TestTranslatorsAreAskedFor(t *testing.T) {
	at := namestest.Server(t, func(_ string, m dnsmessage.Message) *dnsmessage.Message {
		if m.Questions[0].Name.String() != onlyIPv4 || m.Questions[0].Type != dnsmessage.TypeAAAA {
			return nil
		}
		m.Response = true
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("2001:db8:64::192.0.0.170").As16()},
		}}
		return &m
	})
	s := testServer(t, nil, func(s *Server) { askOnly(s, at) })
	s.work.Go(func() { watchTranslators(s.ctx, s) })
	eventually(t, "the prefix is known", func() bool {
		return s.rules.current.Load().verdict(netip.MustParseAddrPort("[2001:db8:64::7f00:1]:80")) == dropRefused
	})
}
