package dialer

import (
	"net"
	"net/netip"
	"slices"

	"github.com/mpsocks/mpsocks/mux/nat64"
)

// Networks of IPv6 alone, mobile ones and more and more Wi-Fi, lead to IPv4 by a translator.
// Where a path has no IPv4 and the server is known by nothing else, its address is dialled so.

// translators are the prefixes in the addresses of nat64.Name.
func translators(addrs []netip.Addr) (out []netip.Prefix) {
	for _, a := range addrs {
		if a.Unmap().Is4() {
			continue
		}
		for _, bits := range nat64.Bits {
			p := netip.PrefixFrom(a, bits).Masked()
			if slices.ContainsFunc(nat64.Addrs[:], func(four netip.Addr) bool { return nat64.Embed(p, four) == a }) && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// Translated are the addresses by which a network's translator leads to IPv4 ones. known are
// the addresses of nat64.Name there; without any that tells, it is the common prefix,
// which is for public addresses alone (RFC 6052, Section 3.1).
func Translated(known []netip.Addr, servers []netip.AddrPort) (out []netip.AddrPort) {
	prefixes := translators(known)
	for _, s := range servers {
		a := s.Addr().Unmap()
		if !a.Is4() {
			continue
		}
		for _, p := range prefixes {
			out = append(out, netip.AddrPortFrom(nat64.Embed(p, a), s.Port()))
		}
		if len(prefixes) == 0 && a.IsGlobalUnicast() && !a.IsPrivate() {
			out = append(out, netip.AddrPortFrom(nat64.Embed(nat64.Common, a), s.Port()))
		}
	}
	return out
}

// Lacks4 says that the way has IPv6 and no IPv4. Nothing is sent.
func (w *Way) Lacks4() bool {
	switch {
	case w.Local.IsValid():
		return w.Local.Unmap().Is6()
	case w.Interface != "":
		i, err := net.InterfaceByName(w.Interface)
		if err != nil {
			return false
		}
		addrs, err := i.Addrs()
		return err == nil && sixAlone(addrs)
	}
	return !w.reaches("udp4", nat64.Addrs[0]) && w.reaches("udp6", nat64.Embed(nat64.Common, nat64.Addrs[0]))
}

// sixAlone says that there are addresses of IPv6 and none of IPv4, links' own aside.
func sixAlone(addrs []net.Addr) bool {
	six := false
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		switch {
		case !ok || ip.Unmap().IsLinkLocalUnicast():
		case ip.Unmap().Is4():
			return false
		default:
			six = true
		}
	}
	return six
}

// reaches says whether the system has a route.
func (w *Way) reaches(network string, to netip.Addr) bool {
	d := w.Dialer(0, nil)
	conn, err := d.Dial(network, netip.AddrPortFrom(to, 9).String())
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
