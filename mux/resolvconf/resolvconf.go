// Package resolvconf reads resolv.conf(5): for the server, which asks those that it names, and for the
// client, which answers in their place, and looks whether they are asked outside the tunnel.
package resolvconf

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	// Path is where Unix systems have the file.
	Path = "/etc/resolv.conf"
	// Resolved is where systemd-resolved says in the same form whom it asks.
	Resolved = "/run/systemd/resolve/resolv.conf"
	// maxSearch is how many suffixes there are, as in the C library.
	maxSearch = 6
	// maxNdots is what the C library takes (RES_MAXNDOTS).
	maxNdots = 15
)

// A Config is what the file says.
type Config struct {
	Servers []netip.Addr // all that it names, in its order
	Search  []string     // in lower case, without final dots
	Ndots   int          // a name with so many dots is asked for as it is first
}

// Parse takes the lines nameserver, search, domain and options ndots.
func Parse(text string) Config {
	out := Config{Ndots: 1}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(fields[1]); err == nil {
				out.Servers = append(out.Servers, addr)
			}
		case "search", "domain": // the last one counts
			out.Search = nil
			for _, s := range fields[1:] {
				if s = strings.ToLower(strings.Trim(s, ".")); s != "" && len(out.Search) < maxSearch {
					out.Search = append(out.Search, s)
				}
			}
		case "options":
			for _, o := range fields[1:] {
				if n, err := strconv.Atoi(strings.TrimPrefix(o, "ndots:")); err == nil && strings.HasPrefix(o, "ndots:") {
					out.Ndots = min(max(n, 0), maxNdots)
				}
			}
		}
	}
	return out
}

// Beyond says whether a name server is neither on this machine nor in the tunnel.
func Beyond(a netip.Addr) bool {
	return !a.IsLoopback() && !packet.TunnelPrefix4.Contains(a) && !packet.TunnelPrefix6.Contains(a)
}
