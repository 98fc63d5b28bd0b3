package names

import (
	"bufio"
	"bytes"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// resolvConfPath is where Unix systems name their upstreams. Where there is
	// no such file, the system's own resolver is asked for addresses.
	resolvConfPath = "/etc/resolv.conf"
	// resolvConfAge is how old what was read may become, as in Go's resolver.
	resolvConfAge = 5 * time.Second
	// maxUpstreams is how many servers are asked, and maxSearch how many names a
	// search list may make of one, as in the C library.
	maxUpstreams, maxSearch = 3, 6
	// maxNdots is what the C library takes (RES_MAXNDOTS).
	maxNdots = 15
)

// Upstreams are the name servers that are asked, and for what: what resolv.conf(5) says.
type Upstreams struct {
	Servers []netip.AddrPort // three at most
	Search  []string         // in lower case, without final dots
	Ndots   int              // a name with so many dots is asked for as it is first
}

// candidates are the names to ask for, in turn, until one exists: the host itself
// and what the search list makes of it.
func (c Upstreams) candidates(host string) []string {
	plain := strings.TrimSuffix(host, ".") + "."
	var longer []string
	for _, suffix := range c.Search {
		if name := plain + suffix + "."; len(name) <= 254 && plain != "." {
			longer = append(longer, name)
		}
	}
	if strings.Count(plain, ".")-1 >= c.Ndots {
		return append([]string{plain}, longer...)
	}
	return append(longer, plain)
}

// resolvConf reads resolv.conf(5) again when the file changes.
type resolvConf struct {
	path string

	mu      sync.Mutex // guards the rest
	checked time.Time
	changed time.Time // the file's modification time
	config  Upstreams
}

// read returns what the file says; no servers if there is no such file.
func (c *resolvConf) read() Upstreams {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) < resolvConfAge {
		return c.config
	}
	c.checked = time.Now()
	info, err := os.Stat(c.path)
	if err != nil {
		c.config, c.changed = Upstreams{}, time.Time{}
		return c.config
	}
	if info.ModTime().Equal(c.changed) {
		return c.config
	}
	text, err := os.ReadFile(c.path)
	if err != nil {
		return c.config
	}
	c.config, c.changed = parseResolvConf(text), info.ModTime()
	return c.config
}

// parseResolvConf takes the lines nameserver, search, domain and options ndots.
func parseResolvConf(text []byte) Upstreams {
	out := Upstreams{Ndots: 1}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(fields[1]); err == nil && len(out.Servers) < maxUpstreams {
				out.Servers = append(out.Servers, netip.AddrPortFrom(addr, 53))
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
