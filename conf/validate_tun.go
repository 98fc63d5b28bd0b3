package conf

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// maxDevice is the longest name of a network device (IFNAMSIZ without its zero).
	maxDevice = 15
	// minMTU is the least that IPv6 works with (RFC 8200, Section 5).
	minMTU = 1280
	// maxRules bounds what is excluded, and what is led to the device: each is a rule or a
	// route that the kernel looks at.
	maxRules = 1024
)

func (c *Client) validateTUN(p *Errors) {
	t := &c.TUN
	noteOneOf(p, "tun.when_down", t.WhenDown, WhenDownStop, WhenDownAround)
	noteRange(p, "tun.mtu", t.MTU, minMTU, 65535)
	if d := t.Device; len(d) > maxDevice || d == "." || d == ".." || strings.ContainsAny(d, "/: \t\n%") {
		p.addf("tun.device", "%q is no name of a network device: 1 to %d letters and digits, such as mps0", shorten(d), maxDevice)
	}
	for i, a := range t.Addresses {
		field := fmt.Sprintf("tun.addresses[%d]", i)
		switch {
		case !a.IsValid():
			p.addf(field, "is empty")
		case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast():
			p.addf(field, "%s is no address for a device", a)
		case slices.ContainsFunc(t.Addresses[:i], func(o netip.Addr) bool { return o.IsValid() && o.Is4() == a.Is4() }):
			p.addf(field, "%s is a second address of its family", a)
		}
	}
	for i, r := range t.Routes {
		field := fmt.Sprintf("tun.routes[%d]", i)
		switch {
		case !r.IsValid():
			p.addf(field, "is empty")
		case slices.Contains(t.Routes[:i], r):
			p.addf(field, "%s is there twice", r)
		case r.Bits() > 0 && slices.ContainsFunc(t.Exclude, func(e Exclusion) bool { return e.To == r }):
			p.addf(field, "%s is in tun.exclude too", r)
		}
	}
	for i, e := range t.Exclude {
		if e.String() == "" {
			p.addf(fmt.Sprintf("tun.exclude[%d]", i), "is empty")
		}
	}
	if n := len(t.Exclude); n > maxRules {
		p.addf("tun.exclude", "%d are more than %d", n, maxRules)
	}
	if n := len(t.Routes); n > maxRules {
		p.addf("tun.routes", "%d are more than %d", n, maxRules)
	}
	if t.Device == "" {
		return
	}
	if len(t.Addresses) == 0 {
		p.addf("tun.addresses", "needs an address, such as 198.18.255.2")
	}
	if len(t.Routes) == 0 {
		p.addf("tun.routes", "needs a destination, such as 0.0.0.0/0")
	}
	for i, path := range c.Paths {
		if glob, _ := filepath.Match(path.Bind, t.Device); glob {
			p.addf(fmt.Sprintf("paths[%d].bind", i), "%s means %s, the device of tun, which leads into the tunnel", path.Bind, t.Device)
		}
	}
}
