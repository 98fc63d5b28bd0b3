package carrier

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/mpsocks/mpsocks/mux/muxtest"
)

// Both families' wildcards can be listened at together, in any order, and an IPv4 one is for
// IPv4 alone; one that took both families has to go for that.
func TestBothWildcards(t *testing.T) {
	if !muxtest.HasIPv6() {
		t.Skip("this machine has no IPv6 loopback")
	}
	port, err := muxtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	four := ListenAddr{Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), port)}
	six := ListenAddr{Addr: netip.AddrPortFrom(netip.IPv6Unspecified(), port)}
	reaches := func(to string) bool {
		c, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr(to), port).String())
		if err != nil {
			return false
		}
		c.Close()
		return true
	}
	for _, tt := range []struct {
		addrs  []ListenAddr
		v4, v6 bool
	}{
		{[]ListenAddr{four, six}, true, true},
		{[]ListenAddr{six, four}, true, true},
		{[]ListenAddr{six}, true, true},
		{[]ListenAddr{four}, true, false},
	} {
		doors, err := Bind(tt.addrs, tt.addrs)
		if err != nil {
			t.Errorf("%v: %v", tt.addrs, err)
			continue
		}
		if v4, v6 := reaches("127.0.0.1"), reaches("::1"); v4 != tt.v4 || v6 != tt.v6 {
			t.Errorf("%v: IPv4 %v, IPv6 %v", tt.addrs, v4, v6)
		}
		stay := !slices.ContainsFunc(doors, func(d Door) bool { return !d.Fits([]ListenAddr{four, six}) })
		if alone := len(tt.addrs) == 1 && tt.addrs[0] == six; stay == alone {
			t.Errorf("%v: they stay beside both: %v", tt.addrs, stay)
		}
		CloseDoors(doors)
	}
}
