package packet

import (
	"net/netip"
	"testing"
)

// A port of the client has one name in both families, and no other address has one.
func TestEnds(t *testing.T) {
	for _, c := range []struct {
		at   string
		host uint16
		ok   bool
	}{
		{"198.18.0.2:4000", 2, true},
		{"[fd6d:7073::2]:4000", 2, true},
		{"198.18.1.9:4000", 265, true},
		{"198.19.0.2:4000", 0, false},
		{"192.0.2.1:4000", 0, false},
		{"[fd6d:7073:0:1::2]:4000", 0, false},
		{"[fd6d:7073::1:0:2]:4000", 0, false},
		{"[2001:db8::2]:4000", 0, false},
	} {
		e, ok := EndAt(ProtoUDP, netip.MustParseAddrPort(c.at))
		if ok != c.ok || ok && e != (End{ProtoUDP, c.host, 4000}) {
			t.Errorf("%s: %+v, %v", c.at, e, ok)
		}
	}
}

func TestWish(t *testing.T) {
	w := Wish{At: End{ProtoTCP, 2, 40000}, Class: 3, Paths: 0x80000001}
	b := w.Append(nil)
	if len(b) != WishLen || ParseWish(b) != w {
		t.Errorf("%x is %+v", b, ParseWish(b))
	}
}
