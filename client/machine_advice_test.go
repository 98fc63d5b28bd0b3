package client

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mpsocks/mpsocks/conf"
)

// What a person is told to do where the client does not set routes.
func TestRouteAdvice(t *testing.T) {
	cfg := conf.DefaultClient().TUN
	for _, text := range []string{"192.168.0.0/16", "tcp:22", "::/0"} {
		var e conf.Exclusion
		if err := e.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		cfg.Exclude = append(cfg.Exclude, e)
	}
	cfg.Routes = append(cfg.Routes, netip.MustParsePrefix("198.51.100.0/24"))
	server := []netip.Addr{netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("2001:db8::5")}
	for goos, want := range map[string]string{
		"darwin": `ifconfig utun7 inet 198.18.255.2 198.18.255.2 netmask 255.255.255.255 up
ifconfig utun7 inet6 fd6d:7073::ffff:2 prefixlen 128 up
route -n add -net 203.0.113.5/32 GATEWAY
route -n add -inet6 -net 2001:db8::5/128 GATEWAY
route -n add -net 192.168.0.0/16 GATEWAY
route -n add -net 0.0.0.0/1 -interface utun7
route -n add -net 128.0.0.0/1 -interface utun7
route -n add -inet6 -net ::/1 -interface utun7
route -n add -inet6 -net 8000::/1 -interface utun7
route -n add -net 198.51.100.0/24 -interface utun7`,
		"windows": `netsh interface ipv4 set address "utun7" static 198.18.255.2 255.255.255.255
netsh interface ipv6 add address "utun7" fd6d:7073::ffff:2/128
netsh interface ipv4 add route 203.0.113.5/32 "UPLINK" GATEWAY
netsh interface ipv6 add route 2001:db8::5/128 "UPLINK" GATEWAY
netsh interface ipv4 add route 192.168.0.0/16 "UPLINK" GATEWAY
netsh interface ipv4 add route 0.0.0.0/1 "utun7"
netsh interface ipv4 add route 128.0.0.0/1 "utun7"
netsh interface ipv6 add route ::/1 "utun7"
netsh interface ipv6 add route 8000::/1 "utun7"
netsh interface ipv4 add route 198.51.100.0/24 "utun7"`,
	} {
		if diff := cmp.Diff(want, strings.Join(routeAdvice(goos, "utun7", &cfg, server), "\n")); diff != "" {
			t.Errorf("%s: %s", goos, diff)
		}
	}
}
