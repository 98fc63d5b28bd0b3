package conf

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// CoverNone as an upstream answers nothing to strangers.
const CoverNone = "none"

// Cover is what a server is to those who hold no client's key.
type Cover struct {
	// Upstream is host:port of the web server that answers strangers: it gets their
	// bytes as they are. none says nothing to them; empty tells them by TLS alerts
	// that this is mpsocks.
	Upstream string `mapstructure:"upstream" reload:"live"`
	// ALPN has the protocols that clients offer in the clear, as browsers do at that
	// web server; clients need the same. Empty is mpsocks/1.
	ALPN []string `mapstructure:"alpn" reload:"live"`
	// ServerName is the name that clients show in the clear; they need the same.
	ServerName string `mapstructure:"server_name" reload:"live"`
}

// RemoteCover is what a client shows to those who watch it; the same as the
// server's.
type RemoteCover struct {
	// ALPN has the protocols that are offered in the clear.
	ALPN []string `mapstructure:"alpn" reload:"restart"`
	// ServerName is the name that is shown in the clear.
	ServerName string `mapstructure:"server_name" reload:"restart"`
}

// Told is what the clients of a server have to be told of its cover.
func (c *Cover) Told() RemoteCover { return RemoteCover{c.ALPN, c.ServerName} }

func (c *Cover) note(p *Errors, listen []netip.AddrPort) {
	if c.Upstream != "" && c.Upstream != CoverNone {
		noteHostPort(p, "cover.upstream", c.Upstream)
		if at, leads := c.leadsTo(listen); leads {
			p.addf("cover.upstream", "%s is this server itself, at %s: a stranger would go round in circles", c.Upstream, at)
		}
	}
	noteShown(p, "cover", c.ALPN, c.ServerName)
}

// leadsTo says at which of the server's own addresses the upstream is, if it is at one: at
// it, or on loopback where it is all addresses'.
func (c *Cover) leadsTo(listen []netip.AddrPort) (at netip.AddrPort, leads bool) {
	host, port, err := net.SplitHostPort(c.Upstream)
	if err != nil {
		return at, false
	}
	addr, _ := netip.ParseAddr(host)
	addr = addr.Unmap()
	near := addr.IsLoopback() || addr.IsUnspecified() || host == "localhost"
	for _, l := range listen {
		same := l.Addr().Unmap() == addr && addr.IsValid()
		if strconv.Itoa(int(l.Port())) == port && (same || near && (l.Addr().IsUnspecified() || host == "localhost" && l.Addr().IsLoopback())) {
			return l, true
		}
	}
	return at, false
}

// noteShown holds that a ClientHello can carry it.
func noteShown(p *Errors, field string, alpn []string, name string) {
	total := 0
	for i, a := range alpn {
		if a == "" || len(a) > 32 {
			p.addf(fmt.Sprintf("%s.alpn[%d]", field, i), "%q is not the name of a protocol, such as h2", shorten(a))
		}
		total += 1 + len(a)
	}
	if total > 256 {
		p.addf(field+".alpn", "has more names than a browser would offer")
	}
	if name == "" {
		return
	}
	bad := len(name) > 200 || !strings.Contains(name, ".")
	for label := range strings.SplitSeq(name, ".") {
		bad = bad || label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-'
		for _, r := range label {
			bad = bad || (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
		}
		if last := name[strings.LastIndexByte(name, '.')+1:]; strings.Trim(last, "0123456789") == "" {
			bad = true // looks like an address
		}
	}
	if bad {
		p.addf(field+".server_name", "%q is not a host name in small letters, such as www.example.org", shorten(name))
	}
}
