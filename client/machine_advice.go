package client

import (
	"fmt"
	"net/netip"

	"github.com/mpsocks/mpsocks/conf"
)

// routeAdvice are the commands that lead to a device what a configuration says, on systems
// where the client does not: the server and what is excluded go by the uplink, and defaults
// are halved, so that the uplink's own stays.
func routeAdvice(goos, device string, t *conf.TUN, servers []netip.Addr) (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	mac := goos == "darwin"
	six := func(a netip.Addr) string { // of route on macOS
		if a.Is6() {
			return "-inet6 "
		}
		return ""
	}
	version := func(a netip.Addr) string { // of netsh
		if a.Is6() {
			return "ipv6"
		}
		return "ipv4"
	}
	for _, a := range t.Addresses {
		switch {
		case mac && a.Is4():
			say("ifconfig %s inet %s %s netmask 255.255.255.255 up", device, a, a)
		case mac:
			say("ifconfig %s inet6 %s prefixlen 128 up", device, a)
		case a.Is4():
			say(`netsh interface ipv4 set address "%s" static %s 255.255.255.255`, device, a)
		default:
			say(`netsh interface ipv6 add address "%s" %s/128`, device, a)
		}
	}
	around := make([]netip.Prefix, 0, len(servers)+len(t.Exclude))
	for _, a := range servers {
		around = append(around, netip.PrefixFrom(a, a.BitLen()))
	}
	for _, e := range t.Exclude {
		if e.To.IsValid() && e.To.Bits() > 0 {
			around = append(around, e.To)
		}
	}
	for _, p := range around {
		if mac {
			say("route -n add %s-net %s GATEWAY", six(p.Addr()), p)
		} else {
			say(`netsh interface %s add route %s "UPLINK" GATEWAY`, version(p.Addr()), p)
		}
	}
	for _, r := range t.Routes {
		for _, p := range halves(r) {
			if mac {
				say("route -n add %s-net %s -interface %s", six(p.Addr()), p, device)
			} else {
				say(`netsh interface %s add route %s "%s"`, version(p.Addr()), p, device)
			}
		}
	}
	return out
}

// halves are a default in two, which count for more than the uplink's; else what it is.
func halves(p netip.Prefix) []netip.Prefix {
	if p.Bits() > 0 {
		return []netip.Prefix{p}
	}
	if p.Addr().Is4() {
		return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1")}
	}
	return []netip.Prefix{netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")}
}

// servers are the server's known addresses.
func servers(c *Client) (out []netip.Addr) {
	if c.mux == nil {
		return nil
	}
	for _, a := range c.mux.Servers() {
		out = append(out, a.Unmap())
	}
	return out
}
