package server

import (
	"net/netip"
	"testing"
)

func TestAccessDefaults(t *testing.T) {
	var a access
	for _, tt := range []struct {
		addr string
		want dropReason
	}{
		// Ordinary addresses, some of them next door to special ones.
		{"1.1.1.1", dropNone},
		{"9.255.255.255", dropNone},
		{"11.0.0.0", dropNone},
		{"100.63.255.255", dropNone},
		{"100.128.0.0", dropNone},
		{"126.255.255.255", dropNone},
		{"128.0.0.0", dropNone},
		{"168.63.129.15", dropNone},
		{"169.253.255.255", dropNone},
		{"169.255.0.0", dropNone},
		{"172.15.255.255", dropNone},
		{"172.32.0.0", dropNone},
		{"192.0.1.0", dropNone},
		{"192.167.255.255", dropNone},
		{"192.169.0.0", dropNone},
		{"198.17.255.255", dropNone},
		{"198.20.0.0", dropNone},
		{"203.0.113.5", dropNone}, // documentation
		{"223.255.255.255", dropNone},
		{"2606:4700::1111", dropNone},
		{"2001:db8::1", dropNone}, // documentation
		{"2001:4860::8888", dropNone},
		{"64:ff9b::1.1.1.1", dropNone},
		{"2002:101:101::1", dropNone},
		{"::ffff:1.1.1.1", dropNone},
		{"2001:0:102:304:0:0:fefe:fefe", dropNone}, // Teredo, client 1.1.1.1
		{"2600::5efe:8.8.8.8", dropNone},           // ISATAP

		{"0.0.0.0", dropRefused},
		{"0.1.2.3", dropRefused},
		{"10.0.0.1", dropRefused},
		{"10.255.255.255", dropRefused},
		{"100.64.0.0", dropRefused},
		{"100.127.255.255", dropRefused},
		{"127.0.0.1", dropRefused},
		{"127.255.255.254", dropRefused},
		{"168.63.129.16", dropRefused},
		{"169.254.169.254", dropRefused},
		{"172.16.0.0", dropRefused},
		{"172.31.255.255", dropRefused},
		{"192.0.0.8", dropRefused},
		{"192.88.99.1", dropRefused},
		{"192.168.1.1", dropRefused},
		{"198.18.0.2", dropRefused},
		{"198.19.255.255", dropRefused},
		{"224.0.0.251", dropRefused},
		{"239.255.255.250", dropRefused},
		{"240.0.0.1", dropRefused},
		{"255.255.255.255", dropRefused},

		{"::", dropRefused},
		{"::1", dropRefused},
		{"::127.0.0.1", dropRefused}, // IPv4-compatible
		{"::8.8.8.8", dropRefused},
		{"::ffff:127.0.0.1", dropRefused},
		{"::ffff:10.0.0.1", dropRefused},
		{"::ffff:0:127.0.0.1", dropRefused}, // IPv4-translated, RFC 2765
		{"64:ff9b::10.0.0.1", dropRefused},
		{"64:ff9b::127.0.0.1", dropRefused},
		{"64:ff9b:1::1.1.1.1", dropRefused},
		{"100::1", dropRefused},
		{"2001:0:102:304:0:0:f5ff:fffe", dropRefused}, // Teredo, client 10.0.0.1
		{"2002:7f00:1::1", dropRefused},               // 6to4 of 127.0.0.1
		{"2002:a00:1::1", dropRefused},
		{"2002:c0a8:101::", dropRefused},
		{"2600::5efe:10.0.0.1", dropRefused}, // ISATAP
		{"2600::200:5efe:192.168.0.1", dropRefused},
		{"5f00::1", dropRefused},
		{"fc00::1", dropRefused},
		{"fd6d:7073::1", dropRefused},
		{"fdff::1", dropRefused},
		{"fe80::1", dropRefused},
		{"fe80::1%eth0", dropRefused},
		{"fec0::1", dropRefused},
		{"ff02::1", dropRefused},
	} {
		if got := a.verdict(netip.AddrPortFrom(netip.MustParseAddr(tt.addr), 443)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.addr, got, tt.want)
		}
	}
	if got := a.verdict(netip.AddrPortFrom(netip.MustParseAddr("1.1.1.1"), 0)); got != dropPort {
		t.Errorf("port 0: %q", got)
	}
	if got := a.verdict(netip.AddrPort{}); got == dropNone {
		t.Error("no address is permitted")
	}
}

func TestAccessLists(t *testing.T) {
	a := access{
		allow: allow(t, "10.0.0.0/8:53,8000-8010", "192.168.1.5", "fd00::/16", "64:ff9b::/96"),
		deny:  allow(t, "10.9.0.0/16", "8.8.8.8", "[2606:4700::]/32:25", "192.168.1.5:22"),
	}
	for _, tt := range []struct {
		dst  string
		want dropReason
	}{
		{"10.1.1.1:53", dropNone},
		{"10.1.1.1:8005", dropNone},
		{"10.1.1.1:80", dropRefused},
		{"10.9.1.1:53", dropDenied}, // deny wins
		{"[::ffff:10.1.1.1]:53", dropNone},
		{"[::ffff:10.9.1.1]:53", dropDenied},
		{"192.168.1.5:80", dropNone},
		{"192.168.1.5:22", dropDenied},
		{"192.168.1.6:80", dropRefused},
		{"[fd00::1]:1", dropNone},
		{"[fd01::1]:1", dropRefused},
		{"8.8.8.8:53", dropDenied},
		{"8.8.4.4:53", dropNone},
		{"[64:ff9b::8.8.8.8]:53", dropDenied}, // also by the way round
		{"[2002:808:808::1]:53", dropDenied},
		{"[64:ff9b::10.1.1.1]:80", dropNone}, // allowed as it is written
		{"[2002:a01:101::1]:53", dropRefused},
		{"[2606:4700::1]:25", dropDenied},
		{"[2606:4700::1]:443", dropNone},
	} {
		if got := a.verdict(netip.MustParseAddrPort(tt.dst)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.dst, got, tt.want)
		}
	}
}

// TestDenyReachesWhatIsEmbedded: an operator who allows everything, and denies the private
// networks and the clouds' metadata, has denied them by all ways around too.
func TestDenyReachesWhatIsEmbedded(t *testing.T) {
	a := access{allow: allow(t, "0.0.0.0/0", "::/0"), deny: allow(t, "private", "metadata", "smtp")}
	for _, addr := range []string{
		"169.254.169.254", "10.1.2.3", "::ffff:169.254.169.254", "::169.254.169.254", "::ffff:0:169.254.169.254",
		"64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", // /96
		"64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1:a9:fe:a9fe::", "64:ff9b:1:0:a9:fea9:fe00:0", // /48, /56, /64
		"64:ff9b:1::10.1.2.3", "2002:a9fe:a9fe::1", "2001:0:102:304::5601:5601", "2600::5efe:169.254.169.254",
	} {
		if got := a.verdict(netip.AddrPortFrom(netip.MustParseAddr(addr), 80)); got != dropDenied {
			t.Errorf("%s: %q", addr, got)
		}
	}
	for _, addr := range []string{"192.0.2.1", "::ffff:192.0.2.1", "64:ff9b::c000:201", "2001:db8::1"} {
		if got := a.verdict(netip.AddrPortFrom(netip.MustParseAddr(addr), 25)); got != dropDenied {
			t.Errorf("%s, port 25: %q", addr, got)
		}
		if got := a.verdict(netip.AddrPortFrom(netip.MustParseAddr(addr), 26)); got != dropNone {
			t.Errorf("%s, port 26: %q", addr, got)
		}
	}
}
