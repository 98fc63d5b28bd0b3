package server

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/mpsocks/mpsocks/mux/nat64"
)

// A network with a NAT64 of its own may give it any prefix, and what is sent to an address
// in it comes to an IPv4 one, which the access rules have to hold for too. The network's
// name servers tell the prefix: they make addresses in it of a name that has IPv4 ones only
// (RFC 7050).

const (
	// onlyIPv4 is that name.
	onlyIPv4 = nat64.Name + "."
	// translatorTick is how often it is asked for; answers are remembered for their TTL.
	translatorTick = 10 * time.Minute
	// mostTranslators is how many prefixes are believed.
	mostTranslators = 8
)

// translators are the prefixes of NAT64s.
type translators []netip.Prefix

// inside returns the IPv4 addresses that an address leads to.
func (t translators) inside(addr netip.Addr) (out []netip.Addr) {
	for _, p := range t {
		if p.Contains(addr) {
			out = append(out, nat64.Inside(addr, p.Bits()))
		}
	}
	return out
}

// translatorsOf are those that made these addresses of onlyIPv4.
func translatorsOf(addrs []netip.Addr) (t translators) {
	for _, a := range addrs {
		if !a.Is6() || a.Is4In6() {
			continue
		}
		for _, bits := range nat64.Bits {
			if !slices.Contains(nat64.Addrs[:], nat64.Inside(a, bits)) {
				continue
			}
			p, err := a.WithZone("").Prefix(bits)
			if err == nil && len(t) < mostTranslators && !slices.Contains(t, p) {
				t = append(t, p)
			}
		}
	}
	slices.SortFunc(t, netip.Prefix.Compare)
	return t
}

// watchTranslators asks for the network's prefixes until ctx ends. When nobody answers, those
// of before hold.
func watchTranslators(ctx context.Context, s *Server) {
	tick := time.NewTicker(translatorTick)
	defer tick.Stop()
	for {
		if addrs, ok := s.resolver.IPv6(ctx, onlyIPv4); ok {
			s.rules.translated(translatorsOf(addrs))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
