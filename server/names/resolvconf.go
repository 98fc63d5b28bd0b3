package names

import (
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/mux/resolvconf"
)

const (
	// resolvConfAge is how old what was read may become, as in Go's resolver.
	resolvConfAge = 5 * time.Second
	// maxUpstreams is how many servers are asked, as in the C library.
	maxUpstreams = 3
)

// Upstreams are the name servers that are asked, and for what: what resolv.conf(5) says. Where there
// is no such file, the system's own resolver is asked for addresses.
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
	c.config, c.changed = upstreamsOf(resolvconf.Parse(string(text))), info.ModTime()
	return c.config
}

// upstreamsOf are those that the file names, as far as they are asked.
func upstreamsOf(file resolvconf.Config) Upstreams {
	out := Upstreams{Search: file.Search, Ndots: file.Ndots}
	for _, addr := range file.Servers[:min(len(file.Servers), maxUpstreams)] {
		out.Servers = append(out.Servers, netip.AddrPortFrom(addr, 53))
	}
	return out
}
