package conf

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Bounds of what a file may ask for.
const (
	// minIdle is RFC 4787 REQ-5's: a mapping must not expire in less.
	minIdle = 2 * time.Minute
	// minSession leaves time for one redial over a slow path.
	minSession = time.Second
	// maxDrain is longer than any service manager waits.
	maxDrain = time.Hour
	// maxSubflows on one path: beyond it more connections only cost.
	maxSubflows = 64
	// maxWeight keeps the product of weights and bytes far from overflow.
	maxWeight = 1000
	// MaxTable is the largest cap: more sockets than any host has.
	MaxTable = 1 << 24
	// maxName is RFC 1929's limit, used for every name.
	maxName = 255
)

// notePrivateKey asks for the key that every file needs.
func notePrivateKey(p *Errors, key PrivateKey) {
	if len(key) == 0 {
		p.addf("private_key", "is missing; `mpsocks keygen` makes a key pair, `mpsocks init` whole files")
	}
}

// noteName checks a name: printable, bounded, unique among seen.
func noteName(p *Errors, field, name string, seen map[string]bool) {
	switch {
	case name == "":
		p.addf(field, "is missing")
	case len(name) > maxName:
		p.addf(field, "is over %d bytes", maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		p.addf(field, "has a character that does not print")
	case seen[name]:
		p.addf(field, "%q is there twice", name)
	}
	seen[name] = true
}

// noteHostPort checks host:port, where host is a name or an address.
func noteHostPort(p *Errors, field, value string) {
	host, port, err := net.SplitHostPort(value)
	if scheme, _, ok := strings.Cut(value, "://"); ok {
		p.addf(field, "%q is a URL: write host:port alone, without %s://", shorten(value), shorten(scheme))
		return
	}
	if err != nil || host == "" {
		p.addf(field, "%q is not host:port, such as example.com:443 or [2001:db8::1]:443", shorten(value))
		return
	}
	if _, err := parsePort(port); err != nil {
		p.addf(field, "%v", err)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.IsUnspecified() || a.IsMulticast() {
			p.addf(field, "%s is not the address of a host", a)
		}
		return
	}
	if len(host) > 253 || strings.ContainsFunc(host, func(r rune) bool {
		return unicode.IsSpace(r) || strings.ContainsRune("/\\:%@[]", r)
	}) {
		p.addf(field, "%q is neither a host name nor an address", shorten(host))
	} else if strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII }) {
		p.addf(field, "%q is not known to name servers: write it as they have it, which begins with xn--", shorten(host))
	}
}

// noteFile checks the name of a file or a directory: no shell has looked at it.
func noteFile(p *Errors, field, name string) {
	name = expandCredentials(name)
	if strings.HasPrefix(name, "~") || strings.HasPrefix(name, "$") {
		p.addf(field, "%q is taken as it is, without a shell: write the whole path, or one that begins at this file", shorten(name))
	}
}

// noteBind checks an interface name or local address; empty is allowed.
func noteBind(p *Errors, field, value string) {
	if value == "" {
		return
	}
	if a, err := netip.ParseAddr(value); err == nil {
		if a.IsUnspecified() || a.IsMulticast() {
			p.addf(field, "%s is not a local address", a)
		}
		return
	}
	if _, err := net.ParseMAC(value); err == nil {
		return
	}
	if _, err := path.Match(value, ""); err != nil || strings.ContainsFunc(value, func(r rune) bool { return unicode.IsControl(r) || r == '/' || r == ':' }) {
		p.addf(field, "%q is no interface, glob of names, hardware address or local address", shorten(value))
	}
}

// noteOneOf checks a word of a short list.
func noteOneOf[T ~string](p *Errors, field string, value T, known ...T) {
	if slices.Contains(known, value) {
		return
	}
	words := make([]string, len(known))
	for i, k := range known {
		words[i] = string(k)
	}
	if value == "" {
		p.addf(field, "is missing: one of %s", strings.Join(words, ", "))
		return
	}
	p.addf(field, "%s", Misspelt(string(value), words))
}

// Misspelt says that a word is none of those that are known, which these are, and which one was
// probably meant.
func Misspelt(word string, known []string) string {
	all := strings.Join(known, ", ")
	if near := Nearest(word, known); near != "" {
		return fmt.Sprintf("%q is not known, did you mean %s? (one of %s)", shorten(word), near, all)
	}
	return fmt.Sprintf("%q is not one of %s", shorten(word), all)
}

// noteRange checks a number's bounds, both included.
func noteRange(p *Errors, field string, value, low, high int) {
	if value < low || value > high {
		p.addf(field, "%d is not between %d and %d", value, low, high)
	}
}

// noteLimit checks a total and the share of one user or client, where 0 leaves
// the total alone.
func noteLimit(p *Errors, field string, total int, shareField string, share int) {
	noteRange(p, field, total, 1, MaxTable)
	noteRange(p, shareField, share, 0, MaxTable)
	if share > total && total > 0 {
		p.addf(shareField, "%d is over %s (%d)", share, field, total)
	}
}

// noteMode checks the mode and the rules; users are the names that rules may
// use, nil for any.
func noteMode(p *Errors, mode Mode, rules []Rule, users map[string]bool) {
	noteOneOf(p, "mode", mode, ModeAuto, ModeAggregate, ModeRedundant, ModeLatency)
	all := -1
	for i, r := range rules {
		field := fmt.Sprintf("rules[%d]", i)
		noteOneOf(p, field+".class", r.Class, ClassLatency, ClassBulk, ClassOrdered, ClassBackup, ClassMetered)
		if r.User != "" && users != nil && !users[r.User] {
			p.addf(field+".user", "%q is nobody this file knows", shorten(r.User))
		}
		if all >= 0 {
			p.addf(field, "is never reached: rules[%d] matches everything", all)
		} else if r.User == "" && !r.To.IsValid() && r.Ports.IsZero() && r.DSCP.Value() < 0 {
			all = i
		}
	}
}

// noteRest checks what both kinds have at their end.
func noteRest(p *Errors, timeout time.Duration, log Log) {
	if timeout < minSession {
		p.addf("session_timeout", "%v is under %v", timeout, minSession)
	}
	noteOneOf(p, "log.level", log.Level, "trace", "debug", "info", "warn", "error")
	noteOneOf(p, "log.format", log.Format, "auto", "console", "json")
}

// noteAdmin checks the admin address against the TCP listeners.
func noteAdmin(p *Errors, admin []Admin, listen []netip.AddrPort) {
	for n, a := range admin {
		if slices.Contains(admin[:n], a) {
			p.addf("admin", "%s is there twice", a)
		}
		for i, l := range listen {
			if a.Addr.IsValid() && a.Addr.Port() != 0 && overlap(a.Addr, l) {
				p.addf("admin", "%s is taken by listen[%d]", a, i)
			}
		}
	}
}

// noteListen checks a list of addresses to listen at.
func noteListen(p *Errors, field string, listen []netip.AddrPort) {
	for i, l := range listen {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case !l.IsValid():
			p.addf(at, "is empty")
		case l.Addr().IsMulticast():
			p.addf(at, "%s is a multicast address", l.Addr())
		case l.Port() != 0 && slices.ContainsFunc(listen[:i], func(o netip.AddrPort) bool { return o == l }):
			p.addf(at, "%s is there twice", l)
		}
	}
}

// overlap says whether two listeners would meet at one socket.
func overlap(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() &&
		(a.Addr() == b.Addr() || a.Addr() == netip.IPv6Unspecified() || b.Addr() == netip.IPv6Unspecified() ||
			a.Addr().Is4() == b.Addr().Is4() && (a.Addr().IsUnspecified() || b.Addr().IsUnspecified()))
}
