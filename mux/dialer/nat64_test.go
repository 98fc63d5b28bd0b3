package dialer

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/mpsocks/mpsocks/mux/nat64"
)

// A prefix of each length is found in the addresses that it makes (RFC 6052, Section 2.4).
func TestTranslators(t *testing.T) {
	for _, prefix := range []string{
		"2001:db8::/32", "2001:db8:100::/40", "2001:db8:122::/48", "2001:db8:122:300::/56", "2001:db8:122:344::/64",
		"2001:db8:122:344::/96", "64:ff9b::/96",
	} {
		p := netip.MustParsePrefix(prefix)
		if got := translators([]netip.Addr{nat64.Embed(p, nat64.Addrs[0]), nat64.Embed(p, nat64.Addrs[1])}); !slices.Equal(got, []netip.Prefix{p}) {
			t.Errorf("of %s is found %v", prefix, got)
		}
	}
}

// A network's own prefix counts before the common one, which is for public addresses alone;
// what is no translator's makes none.
func TestTranslated(t *testing.T) {
	addr := netip.MustParseAddr
	servers := []netip.AddrPort{
		netip.MustParseAddrPort("203.0.113.5:443"), netip.MustParseAddrPort("10.0.0.1:443"), netip.MustParseAddrPort("[2001:db8::1]:443"),
	}
	for _, tt := range []struct {
		known []netip.Addr
		want  []string
	}{
		{nil, []string{"[64:ff9b::cb00:7105]:443"}},
		{[]netip.Addr{addr("192.0.0.170"), addr("192.0.0.171")}, []string{"[64:ff9b::cb00:7105]:443"}},
		{[]netip.Addr{addr("2001:db8::5")}, []string{"[64:ff9b::cb00:7105]:443"}},
		{[]netip.Addr{addr("2001:db8:1::192.0.0.170")}, []string{"[2001:db8:1::cb00:7105]:443", "[2001:db8:1::a00:1]:443"}},
	} {
		var got []string
		for _, a := range Translated(tt.known, servers) {
			got = append(got, netip.MustParseAddrPort(a.String()).String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v: %v, want %v", tt.known, got, tt.want)
		}
	}
}

func TestSixAlone(t *testing.T) {
	for _, tt := range []struct {
		addrs []string
		want  bool
	}{
		{nil, false},
		{[]string{"fe80::1/64"}, false},
		{[]string{"fe80::1/64", "2001:db8::2/64"}, true},
		{[]string{"169.254.1.1/16", "2001:db8::2/64"}, true},
		{[]string{"192.0.0.2/32", "2001:db8::2/64"}, false}, // a translator on this machine (RFC 6877)
		{[]string{"192.0.2.2/24"}, false},
	} {
		var addrs []net.Addr
		for _, s := range tt.addrs {
			ip, n, _ := net.ParseCIDR(s)
			n.IP = ip
			addrs = append(addrs, n)
		}
		if got := sixAlone(addrs); got != tt.want {
			t.Errorf("%v: %v", tt.addrs, got)
		}
	}
}
