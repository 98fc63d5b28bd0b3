package nat64

import (
	"net/netip"
	"testing"
)

// An IPv4 address stands behind a prefix as in the examples of RFC 6052, Section 2.4.
func TestEmbed(t *testing.T) {
	four := netip.MustParseAddr("192.0.2.33")
	for prefix, want := range map[string]string{
		"2001:db8::/32":         "2001:db8:c000:221::",
		"2001:db8:100::/40":     "2001:db8:1c0:2:21::",
		"2001:db8:122::/48":     "2001:db8:122:c000:2:2100::",
		"2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::",
		"2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100::",
		"2001:db8:122:344::/96": "2001:db8:122:344::192.0.2.33",
		"64:ff9b::/96":          "64:ff9b::192.0.2.33",
	} {
		p := netip.MustParsePrefix(prefix)
		got := Embed(p, four)
		if got != netip.MustParseAddr(want) {
			t.Errorf("behind %s: %v, want %s", prefix, got, want)
		}
		if back := Inside(got, p.Bits()); back != four {
			t.Errorf("inside %v: %v", got, back)
		}
	}
}
