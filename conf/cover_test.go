package conf

import (
	"net/netip"
	"strings"
	"testing"
)

func TestCover(t *testing.T) {
	for _, c := range []struct {
		cover Cover
		wrong string // a field; "" = none
	}{
		{Cover{}, ""},
		{Cover{Upstream: "none"}, ""},
		{Cover{Upstream: "127.0.0.1:8443", ALPN: []string{"h2", "http/1.1"}, ServerName: "www.example.org"}, ""},
		{Cover{Upstream: "127.0.0.1"}, "cover.upstream"},
		{Cover{Upstream: "127.0.0.1:443"}, "cover.upstream"}, // the server's own: it listens there
		{Cover{Upstream: "[::1]:443"}, "cover.upstream"},
		{Cover{Upstream: "localhost:443"}, "cover.upstream"},
		{Cover{Upstream: "192.0.2.1:444"}, "cover.upstream"},
		{Cover{Upstream: "192.0.2.1:443"}, ""}, // it may be another machine
		{Cover{Upstream: "127.0.0.1:444"}, ""},
		{Cover{ALPN: []string{""}}, "cover.alpn[0]"},
		{Cover{ALPN: []string{strings.Repeat("x", 33)}}, "cover.alpn[0]"},
		{Cover{ServerName: "Example.org"}, "cover.server_name"},
		{Cover{ServerName: "localhost"}, "cover.server_name"},
		{Cover{ServerName: "192.0.2.1"}, "cover.server_name"},
		{Cover{ServerName: "a..org"}, "cover.server_name"},
		{Cover{ServerName: strings.Repeat("a.", 120) + "org"}, "cover.server_name"},
	} {
		var p Errors
		c.cover.note(&p, []netip.AddrPort{netip.MustParseAddrPort("[::]:443"), netip.MustParseAddrPort("192.0.2.1:444")})
		err := p.err("")
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%+v: %v, want one about %q", c.cover, err, c.wrong)
		}
	}
}

func TestLinkTellsTheCover(t *testing.T) {
	k, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	cover := Cover{ServerName: "www.example.org", ALPN: []string{"h2", "http/1.1"}}
	l := &Link{Key: k, Addresses: []string{"192.0.2.1:443"}, Servers: []PublicKey{k.Public()}, Cover: cover.Told()}
	got, err := ParseLink(l.Text())
	if err != nil {
		t.Fatal(err)
	}
	if got.Cover.ServerName != cover.ServerName || strings.Join(got.Cover.ALPN, " ") != "h2 http/1.1" {
		t.Errorf("%+v", got.Cover)
	}
}
