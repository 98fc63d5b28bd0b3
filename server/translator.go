package server

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A network with a NAT64 of its own may give it any prefix, and what is sent to an address
// in it comes to an IPv4 one, which the access rules have to hold for too. The network's
// name servers tell the prefix: they make addresses in it of a name that has IPv4 ones only
// (RFC 7050).

const (
	// onlyIPv4 is that name (RFC 7050, Section 8.1).
	onlyIPv4 = "ipv4only.arpa."
	// translatorTick is how often it is asked for; answers are remembered for their TTL.
	translatorTick = 10 * time.Minute
	// mostTranslators is how many prefixes are believed.
	mostTranslators = 8
)

// wellKnown4 are that name's addresses (RFC 7050, Section 8.2).
var wellKnown4 = [2][4]byte{{192, 0, 0, 170}, {192, 0, 0, 171}}

// translators are the prefixes of NAT64s.
type translators []netip.Prefix

// places says which bytes of an address are the IPv4 one, by the prefix's length
// (RFC 6052, Section 2.2).
var places = map[int][4]int{
	32: {4, 5, 6, 7}, 40: {5, 6, 7, 9}, 48: {6, 7, 9, 10}, 56: {7, 9, 10, 11}, 64: {9, 10, 11, 12}, 96: {12, 13, 14, 15},
}

func inside4(a [16]byte, bits int) (v4 [4]byte) {
	for i, at := range places[bits] {
		v4[i] = a[at]
	}
	return v4
}

// inside returns the IPv4 addresses that an address leads to.
func (t translators) inside(addr netip.Addr) (out []netip.Addr) {
	for _, p := range t {
		if p.Contains(addr) {
			out = append(out, netip.AddrFrom4(inside4(addr.As16(), p.Bits())))
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
		for bits := range places {
			if v4 := inside4(a.As16(), bits); v4 != wellKnown4[0] && v4 != wellKnown4[1] {
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
		asking, cancel := context.WithTimeout(ctx, queryTimeout)
		k := s.resolver.find(asking, onlyIPv4, dnsmessage.TypeAAAA)
		cancel()
		if !k.failed() {
			s.rules.translated(translatorsOf(k.addrs))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
