package conf

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
)

// Validate reports every problem at once, as an [Errors], or nil.
func (c *Client) Validate() error { return c.validate().err("") }

func (c *Client) validate() Errors {
	var p Errors
	c.validateListen(&p)
	notePrivateKey(&p, c.PrivateKey)
	c.validateServer(&p)
	c.validatePaths(&p)

	users := map[string]bool{}
	for _, u := range c.Users {
		users[u.Name] = true
	}
	if len(c.Redirect.Listen) > 0 { // machines are known by their addresses
		for _, r := range c.Rules {
			if _, err := netip.ParseAddr(r.User); err == nil {
				users[r.User] = true
			}
		}
	}
	if c.TUN.Device != "" { // its programs are known by this name
		users[TUNUser] = true
	}
	noteMode(&p, c.Mode, c.Rules, users)
	c.validateForwards(&p)
	c.validateRedirect(&p)
	c.validateTUN(&p)
	if r := c.RunSocket; r != "auto" && r != "off" && !filepath.IsAbs(r) {
		p.addf("run_socket", "expected auto, off or a path that begins with /, got %q", r)
	}
	noteOneOf(&p, "udp.offload", c.UDP.Offload, OffloadAuto, OffloadOff)
	c.validatePublicAddress(&p)
	noteLimit(&p, "limits.associations", c.Limits.Associations, "limits.associations_per_user", c.Limits.AssociationsPerUser)
	noteLimit(&p, "limits.streams", c.Limits.Streams, "limits.streams_per_user", c.Limits.StreamsPerUser)
	noteAdmin(&p, c.Admin, c.Listen)
	noteRest(&p, c.SessionTimeout, c.Log)
	return p
}

// validateListen holds that nobody but this host's own users gets in without
// a password unless the file says so.
func (c *Client) validateListen(p *Errors) {
	if len(c.Listen) == 0 && len(c.Forwards) == 0 && len(c.Publish) == 0 && len(c.Redirect.Listen) == 0 && c.TUN.Device == "" {
		p.addf("listen", "needs an address, such as 127.0.0.1:1080")
	}
	noteListen(p, "listen", c.Listen)
	if len(c.Users) == 0 && !c.AllowAnonymous {
		for i, l := range c.Listen {
			if l.IsValid() && !l.Addr().IsLoopback() {
				p.addf(fmt.Sprintf("listen[%d]", i),
					"%s lets everybody in who can reach it: give users, or set allow_anonymous: true", l)
			}
		}
	}
	if len(c.Users) > 0 && c.AllowAnonymous {
		p.addf("allow_anonymous", "there are users too: leave one of them out")
	}
	seen := map[string]bool{}
	for i, u := range c.Users {
		field := fmt.Sprintf("users[%d]", i)
		noteName(p, field+".name", u.Name, seen)
		if u.Password == "" || len(u.Password) > maxName {
			p.addf(field+".password", "has to have 1 to %d bytes", maxName)
		}
	}
}

func (c *Client) validatePublicAddress(p *Errors) {
	for i, a := range c.UDP.PublicAddress {
		switch {
		case !a.IsValid(): // "" is none
		case a.IsUnspecified() || a.IsMulticast():
			p.addf("udp.public_address", "%s is not an address that applications can send to", a)
		case slices.ContainsFunc(c.UDP.PublicAddress[:i], func(o netip.Addr) bool { return o.IsValid() && o.Is4() == a.Is4() }):
			p.addf("udp.public_address", "%s is a second address of its family", a)
		}
	}
}

func (c *Client) validateServer(p *Errors) {
	if len(c.Server.Addresses) == 0 {
		p.addf("server.addresses", "needs the server's host:port")
	}
	for i, a := range c.Server.Addresses {
		field := fmt.Sprintf("server.addresses[%d]", i)
		noteHostPort(p, field, a)
		if slices.Contains(c.Server.Addresses[:i], a) {
			p.addf(field, "%s is there twice", a)
		}
	}
	if len(c.Server.Keys()) == 0 {
		p.addf("server.public_key", "is missing; the server prints it at start, and `mpsocks check` of the server's file too")
	}
	noteShown(p, "server.cover", c.Server.Cover.ALPN, c.Server.Cover.ServerName)
	own := c.PrivateKey.Public()
	if len(own) > 0 && bytes.Equal(c.Server.PublicKey, own) {
		p.addf("server.public_key", "is this client's own key, not the server's")
	}
	for i, k := range c.Server.PublicKeys {
		field := fmt.Sprintf("server.public_keys[%d]", i)
		switch {
		case len(k) == 0:
			p.addf(field, "is empty")
		case bytes.Equal(k, own):
			p.addf(field, "is this client's own key, not the server's")
		}
	}
}

func (c *Client) validatePaths(p *Errors) {
	seen := map[string]bool{}
	for i, path := range c.Paths {
		field := fmt.Sprintf("paths[%d]", i)
		noteName(p, field+".name", path.Name, seen)
		noteBind(p, field+".bind", path.Bind)
		// 0 is what each has where the file leaves it out.
		for _, n := range []struct {
			key         string
			value, most int
		}{{"subflows", int(path.Subflows), maxSubflows}, {"weight", path.Weight, maxWeight}, {"billing_day", path.BillingDay, 31}} {
			if n.value != 0 {
				noteRange(p, field+"."+n.key, n.value, 1, n.most)
			}
		}
		if path.MonthlyCap > 0 && path.DailyCap > path.MonthlyCap {
			p.addf(field+".daily_cap", "%v is over monthly_cap (%v)", path.DailyCap, path.MonthlyCap)
		}
	}
}
