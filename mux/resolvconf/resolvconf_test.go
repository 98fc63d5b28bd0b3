package resolvconf

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Config{
		"": {Ndots: 1},
		"# nameserver 192.0.2.9\nnameserver\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # by DHCP\nnameserver bad\nnameserver fe80::1%lo\nnameserver 192.0.2.1": {
			Servers: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1%lo"), netip.MustParseAddr("192.0.2.1")},
			Ndots:   1,
		},
		"domain old\nsearch a.test. B.test .\r\noptions timeout:1 ndots:2 edns0\n":         {Search: []string{"a.test", "b.test"}, Ndots: 2},
		"search a b c d e f g h\noptions ndots:99\noptions ndots:bad\n":                    {Search: []string{"a", "b", "c", "d", "e", "f"}, Ndots: maxNdots},
		"search " + string(make([]byte, 100<<10)) + "\noptions ndots:-1\nnameserver ::1\n": {Search: []string{string(make([]byte, 100<<10))}, Servers: []netip.Addr{netip.IPv6Loopback()}},
	} {
		if diff := cmp.Diff(want, Parse(text), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%.60q: %.300s", text, diff)
		}
	}
}
