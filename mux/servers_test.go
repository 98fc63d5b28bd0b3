package mux

import (
	"crypto/ed25519"
	"net/netip"
	"slices"
	"testing"

	"github.com/rs/zerolog"
)

// A server cannot lead its clients to what is in their networks: an announced address
// counts if it is public, or of a kind that the configured ones have.
func TestAnnouncedAddressesAreOfTheServersKind(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(nil)
	server, _, _ := ed25519.GenerateKey(nil)
	announced := []string{
		"10.1.2.3:22", "192.168.1.1:443", "100.64.0.1:443", "127.0.0.1:443", "[::1]:443", "169.254.169.254:80", "[fe80::1]:443",
		"[fd00::1]:443", "[::ffff:10.0.0.1]:443", "0.0.0.0:443", "224.0.0.1:443", "198.51.100.7:443", "[2001:db8::7]:443",
	}
	for configured, want := range map[string]int{
		"203.0.113.1:443": 2, // the public ones
		"192.168.7.7:443": 7, // and the private ones
		"127.0.0.1:443":   4, // and loopback's
	} {
		c, err := NewClient(ClientConfig{
			Key: key, ServerKey: server, Addresses: []string{configured}, Handler: newCollector(),
			Paths: []Path{{Name: "one", Subflows: 1}}, Log: zerolog.Nop(),
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range announced {
			c.servers.learn(netip.MustParseAddrPort(a))
		}
		if len(c.servers.learned) != want {
			t.Errorf("of a server at %s are dialled: %v", configured, c.servers.learned)
		}
		for i := range 100 {
			c.servers.learn(netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 443))
		}
		if len(c.servers.learned) > maxLearned {
			t.Errorf("%d are remembered", len(c.servers.learned))
		}
	}
}

// What an announced address leads to by a translator or a tunnel counts, and what is
// no host's on the internet is not dialled.
func TestAnnouncedAddressesLeadNowhereElse(t *testing.T) {
	for configured, want := range map[string][]string{
		"203.0.113.1:443": {"[64:ff9b::c633:6407]:443", "[2001:db8::7]:443"},
		"192.168.7.7:443": {"[64:ff9b::a00:1]:443", "[2002:a00:1::]:22", "[64:ff9b::c633:6407]:443", "[2001:db8::7]:443"},
		"198.18.5.5:443":  {"198.18.0.1:443", "[2001::1]:443", "[fec0::1]:443", "240.1.1.1:443", "0.1.2.3:443", "[64:ff9b::c633:6407]:443", "[2001:db8::7]:443"},
	} {
		v := servers{listed: []string{configured}, log: zerolog.Nop()}
		for _, a := range []string{
			"198.18.0.1:443", "[64:ff9b::a00:1]:443", "[2002:7f00:1::1]:443", "[2001::1]:443", "[fec0::1]:443", "[2002:a00:1::]:22",
			"240.1.1.1:443", "0.1.2.3:443", "[64:ff9b::c633:6407]:443", "[2001:db8::7]:443",
		} {
			v.learn(netip.MustParseAddrPort(a))
		}
		var got []string
		for _, a := range v.learned {
			got = append(got, a.String())
		}
		for i := range want {
			want[i] = netip.MustParseAddrPort(want[i]).String()
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("of a server at %s are dialled %v, not %v", configured, got, want)
		}
	}
}
