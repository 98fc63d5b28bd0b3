package mux

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/dialer"
	"github.com/mpsocks/mpsocks/mux/nat64"
)

// servers are the addresses at which the server may be: as they are configured, with the
// names among them looked up, and those that it has announced.
type servers struct {
	names *dialer.Names
	log   zerolog.Logger

	mu      sync.Mutex // guards the rest
	listed  []string   // as ClientConfig.Addresses; never changed in place
	learned []netip.AddrPort
	doubted bool // since the session was last there
}

// set puts other addresses in the place of the configured ones.
func (v *servers) set(addresses []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.listed = slices.Clone(addresses)
}

// addresses returns where the server is, as it was configured last.
func (v *servers) addresses() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.listed
}

// announced returns the addresses that the server has announced.
func (v *servers) announced() []netip.AddrPort {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.learned)
}

// ask has the names among the server's addresses looked up, by goroutines that begin
// starts and that end with ctx.
func (v *servers) ask(ctx context.Context, begin func(func()), way *dialer.Way) {
	for _, name := range v.addresses() {
		if _, err := netip.ParseAddrPort(name); err == nil {
			continue
		}
		if host, _, err := net.SplitHostPort(name); err == nil {
			v.names.Ask(ctx, begin, way, host)
		}
	}
}

// doubt has all names asked again: no address that is known answers.
func (v *servers) doubt() {
	v.mu.Lock()
	v.doubted = true
	v.mu.Unlock()
	v.renew()
}

// renew has whoever asks next ask all names anew, and the network for its translator's prefix:
// it may be another network by now.
func (v *servers) renew() {
	v.names.Doubt(nat64.Name)
	for _, name := range v.addresses() {
		if host, _, err := net.SplitHostPort(name); err == nil {
			v.names.Doubt(host)
		}
	}
}

// settled says, once after a doubt, that the server is there again. All names are to be
// asked anew then.
func (v *servers) settled() bool {
	v.mu.Lock()
	doubted := v.doubted
	v.doubted = false
	v.mu.Unlock()
	if doubted {
		v.renew()
	}
	return doubted
}

// configured lists the configured addresses that are known. asking says that names may
// bring more; the error, why there is none for one of them.
func (v *servers) configured(ctx context.Context, way *dialer.Way) (addrs []netip.AddrPort, asking bool, failed error) {
	for _, name := range v.addresses() {
		if a, err := netip.ParseAddrPort(name); err == nil {
			addrs = append(addrs, a)
			continue
		}
		host, port, err := net.SplitHostPort(name)
		if err != nil {
			failed = err
			continue
		}
		n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
		if err != nil {
			failed = err
			continue
		}
		ips, wait, err := v.names.Known(host, way)
		for _, ip := range ips {
			addrs = append(addrs, netip.AddrPortFrom(ip, uint16(n)))
		}
		asking = asking || wait
		if ips == nil {
			if err == nil {
				err = fmt.Errorf("no answer for %s yet", host)
			}
			failed = fmt.Errorf("resolve the server's name: %w", err)
		}
	}
	return addrs, asking, failed
}

// maxLearned bounds the addresses that the server may announce.
const maxLearned = 8

// learn notes an address that the server announced, if it can be one of its own: a
// public one, or one of a kind that the configured addresses have. A server must
// not lead its clients to what is in their networks.
func (v *servers) learn(a netip.AddrPort) {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	kind := kindOf(a.Addr())
	fits := kind == kindPublic
	for _, name := range v.addresses() {
		if b, err := netip.ParseAddrPort(name); err == nil {
			fits = fits || kind == kindOf(b.Addr().Unmap())
		} else if host, _, err := net.SplitHostPort(name); err == nil {
			ips, _, _ := v.names.Known(host, nil)
			fits = fits || slices.ContainsFunc(ips, func(ip netip.Addr) bool { return kind == kindOf(ip.Unmap()) })
		}
	}
	if !fits || kind == kindNone {
		v.log.Debug().Stringer("address", a).Msg("the server announces an address of a kind that its own are not")
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.learned) < maxLearned && !slices.Contains(v.learned, a) {
		v.learned = append(v.learned, a)
	}
}

// unlearnAfter is how often in a row an announced address may fail on a path.
const unlearnAfter = 4

// unlearn forgets an announced address that fails again and again, that often by now.
func (v *servers) unlearn(a netip.AddrPort, fails int) {
	if fails < unlearnAfter {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.learned = slices.DeleteFunc(v.learned, func(l netip.AddrPort) bool { return l == a })
}

// Kinds of addresses.
const (
	kindNone = iota // of no host
	kindPublic
	kindPrivate
	kindLinkLocal
	kindLoopback
	kindSpecial // anything else that the internet does not route (RFC 6890)
)

var (
	sharedSpace = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	globalSpace = netip.MustParsePrefix("2000::/3")      // RFC 4291, Section 2.4
	special     = []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.88.99.0/24"),
		netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("2001::/32"),
	}
	sixToFour = netip.MustParsePrefix("2002::/16") // RFC 3056
)

// kindOf is the kind of an address, or of the one that it leads to by a translator or an
// automatic tunnel.
func kindOf(a netip.Addr) int {
	if nat64.Common.Contains(a) {
		return kindOf(nat64.Inside(a, nat64.Common.Bits()))
	}
	if sixToFour.Contains(a) {
		b := a.As16()
		return kindOf(netip.AddrFrom4([4]byte(b[2:6])))
	}
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast():
		return kindNone
	case a.IsLoopback():
		return kindLoopback
	case a.IsLinkLocalUnicast():
		return kindLinkLocal
	case a.IsPrivate() || sharedSpace.Contains(a):
		return kindPrivate
	case slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) }), a.Is6() && !globalSpace.Contains(a):
		return kindSpecial
	}
	return kindPublic
}
