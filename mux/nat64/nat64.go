// Package nat64 knows how a network of IPv6 alone leads to IPv4: by a translator (NAT64,
// RFC 6146), for which an IPv4 address stands within an IPv6 one behind a prefix of the
// network's own (RFC 6052), that its name servers tell (RFC 7050).
package nat64

import "net/netip"

// Name has IPv4 addresses only, which are known; where it has IPv6 ones a translator's
// prefix is in them (RFC 7050, Section 8.1).
const Name = "ipv4only.arpa"

var (
	// Addrs are the addresses of Name (RFC 7050, Section 8.2).
	Addrs = [2]netip.Addr{netip.AddrFrom4([4]byte{192, 0, 0, 170}), netip.AddrFrom4([4]byte{192, 0, 0, 171})}
	// Common is the prefix of networks that have none of their own (RFC 6052, Section 2.1).
	Common = netip.MustParsePrefix("64:ff9b::/96")
	// Bits are the lengths that a prefix may have (RFC 6052, Section 2.2).
	Bits = [6]int{96, 64, 56, 48, 40, 32}
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

// Embed is an IPv4 address behind a prefix of one of the lengths of Bits.
func Embed(p netip.Prefix, a netip.Addr) netip.Addr {
	b, four := p.Masked().Addr().As16(), a.Unmap().As4()
	for i, at := range place(p.Bits()) {
		b[at] = four[i]
	}
	return netip.AddrFrom16(b)
}

// Inside is the IPv4 address behind the first so many bits, one of Bits, of an IPv6 one,
// whatever stands beside it.
func Inside(a netip.Addr, bits int) netip.Addr {
	var four [4]byte
	b := a.As16()
	for i, at := range place(bits) {
		four[i] = b[at]
	}
	return netip.AddrFrom4(four)
}
