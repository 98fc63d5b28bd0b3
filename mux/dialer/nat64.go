package dialer

import (
	"net"
	"net/netip"
	"slices"
)

// Networks of IPv6 alone, mobile ones and more and more Wi-Fi, lead to IPv4 by a translator
// (NAT64, RFC 6146): an IPv4 address stands within an IPv6 one behind a prefix of the
// network's own (RFC 6052). Where a path has no IPv4 and the server is known by nothing else,
// its address is dialled so.

// TranslatorName has, where a network's resolver knows of its translator, the prefix in its
// IPv6 addresses: its IPv4 addresses are known (RFC 7050, Section 3).
const TranslatorName = "ipv4only.arpa"

var (
	translatorAddrs = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 0, 170}), netip.AddrFrom4([4]byte{192, 0, 0, 171})}
	// commonPrefix is that of networks that have none of their own (RFC 6052, Section 2.1).
	commonPrefix = netip.MustParsePrefix("64:ff9b::/96")
	// prefixBits are the lengths that a prefix may have (Section 2.2).
	prefixBits = []int{96, 64, 56, 48, 40, 32}
)

// place is where the bytes of an IPv4 address stand behind a prefix of so many bits: byte 8
// is left out (RFC 6052, Section 2.2).
func place(bits int) (at [4]int) {
	for i, b := 0, bits/8; i < 4; i, b = i+1, b+1 {
		if b == 8 {
			b++
		}
		at[i] = b
	}
	return at
}

// embed is an IPv4 address behind a prefix.
func embed(p netip.Prefix, a netip.Addr) netip.Addr {
	b, four := p.Masked().Addr().As16(), a.Unmap().As4()
	for i, at := range place(p.Bits()) {
		b[at] = four[i]
	}
	return netip.AddrFrom16(b)
}

// translators are the prefixes in the addresses of TranslatorName.
func translators(addrs []netip.Addr) (out []netip.Prefix) {
	for _, a := range addrs {
		if a.Unmap().Is4() {
			continue
		}
		for _, bits := range prefixBits {
			p := netip.PrefixFrom(a, bits).Masked()
			if slices.ContainsFunc(translatorAddrs, func(four netip.Addr) bool { return embed(p, four) == a }) && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// Translated are the addresses by which a network's translator leads to IPv4 ones. known are
// the addresses of TranslatorName there; without any that tells, it is the common prefix,
// which is for public addresses alone (RFC 6052, Section 3.1).
func Translated(known []netip.Addr, servers []netip.AddrPort) (out []netip.AddrPort) {
	prefixes := translators(known)
	for _, s := range servers {
		a := s.Addr().Unmap()
		if !a.Is4() {
			continue
		}
		for _, p := range prefixes {
			out = append(out, netip.AddrPortFrom(embed(p, a), s.Port()))
		}
		if len(prefixes) == 0 && a.IsGlobalUnicast() && !a.IsPrivate() {
			out = append(out, netip.AddrPortFrom(embed(commonPrefix, a), s.Port()))
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
	return !w.reaches("udp4", translatorAddrs[0]) && w.reaches("udp6", embed(commonPrefix, translatorAddrs[0]))
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
