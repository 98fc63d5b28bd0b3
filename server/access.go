package server

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/mpsocks/mpsocks/conf"
)

// access says which destinations may be reached, for UDP and CONNECT alike. It
// is asked with addresses, after names were resolved, and never changes.
//
// What is not an ordinary unicast address of the internet is refused unless
// allowed, and so are the server's own: a client must not reach the server's own
// services, its local network or the tunnel's addresses. deny wins over allow.
type access struct {
	allow, deny []conf.Access
	own         own
	routed      []netip.Prefix // to this server as a whole, whatever addresses it has
	nat64       translators    // of the server's network
	from        *conf.Server   // where they are from
}

// verdict returns dropNone for a destination that may be reached, or else why
// it may not: dropPort, dropDenied, dropRefused, or dropOwn for an address of this
// server itself.
func (a *access) verdict(dst netip.AddrPort) dropReason {
	if dst.Port() == 0 {
		return dropPort
	}
	return a.judge(dst.Addr().WithZone("").Unmap(), dst.Port())
}

// host returns what verdict does for a host as such, whatever the port: entries of ports
// do not count.
func (a *access) host(addr netip.Addr) dropReason {
	if addr = addr.WithZone(""); !addr.IsValid() || addr.Is4In6() {
		return dropRefused
	}
	return a.judge(addr, 0)
}

// judge is verdict for an address and a port; port 0 is the host as such.
func (a *access) judge(addr netip.Addr, port uint16) dropReason {
	// A translator or a tunnel on the way would bring the datagram to an
	// embedded address, so that those count too. An entry of allow has to name
	// the address that is written in the packet.
	denied := matches(a.deny, addr, port)
	refused := special(addr) || a.own[addr] == shared
	mine := a.mine(addr)
	inner, n := embedded4(addr)
	leads := inner[:n]
	if len(a.nat64) > 0 && addr.Is6() {
		leads = append(a.nat64.inside(addr), leads...)
	}
	for _, in := range leads {
		denied = denied || matches(a.deny, in, port)
		refused = refused || special(in) || a.own[in] == shared
		mine = mine || a.mine(in)
	}
	switch {
	case denied:
		return dropDenied
	case !refused && !mine || matches(a.allow, addr, port):
		return dropNone
	case refused:
		return dropRefused
	}
	return dropOwn
}

// speaks says whether datagrams of an address are for clients. One of the server's own machine
// or network, which they may not reach, would speak to their programs as a neighbour of these.
// Ports do not count: who may be reached at one answers from another as well.
func (a *access) speaks(addr netip.Addr) bool {
	return !special(addr) || !matches(a.deny, addr, 0) && slices.ContainsFunc(a.allow, func(e conf.Access) bool {
		e.Ports = nil
		return e.Covers(addr)
	})
}

// mine says whether an address is this server's.
func (a *access) mine(addr netip.Addr) bool {
	return a.own.has(addr) || slices.ContainsFunc(a.routed, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// matches says whether an entry of the list is for a port of an address, or with port 0
// for all of them.
func matches(list []conf.Access, addr netip.Addr, port uint16) bool {
	for i := range list {
		if port == 0 && list[i].Covers(addr) || port != 0 && list[i].Match(netip.AddrPortFrom(addr, port)) {
			return true
		}
	}
	return false
}

// special says whether addr is anything but a unicast address that the
// internet routes (RFC 6890 and the IANA special-purpose registries). Addresses
// for documentation are not refused: nobody has them, so nobody needs protection
// there, and test networks use them as the internet's.
func special(addr netip.Addr) bool {
	if addr.Is4() {
		return special4(addr.As4())
	}
	return !addr.IsValid() || special6(addr.As16())
}

func special4(a [4]byte) bool {
	switch a[0] {
	case 0, 10, 127: // "this network", RFC 1918, loopback
		return true
	case 100: // carrier-NAT, RFC 6598
		return a[1]&0xC0 == 64
	case 168: // Azure's for its machines, where they get their settings: nobody else's
		return a == [4]byte{168, 63, 129, 16}
	case 169: // link-local, also the other clouds' metadata services
		return a[1] == 254
	case 172: // RFC 1918
		return a[1]&0xF0 == 16
	case 192:
		// RFC 1918; IETF protocol assignments; the anycast address of 6to4
		// relays, which would unpack what it gets.
		return a[1] == 168 || a[1] == 0 && a[2] == 0 || a[1] == 88 && a[2] == 99
	case 198: // benchmarking: the tunnel's own
		return a[1]&0xFE == 18
	}
	return a[0] >= 224 // multicast, reserved, broadcast
}

func special6(a [16]byte) bool {
	switch {
	case isNAT64(a): // judged by the embedded address
		return false
	case a[0] == 0: // unspecified, loopback, IPv4-compatible, local NAT64 (RFC 8215), reserved
		return true
	case a[0] == 0x01 && a[1] == 0: // discard-only, RFC 6666
		return true
	case a[0] == 0x5F: // segment routing, RFC 9602
		return true
	case a[0]&0xFE == 0xFC: // unique local; the tunnel's own fd6d:7073::/32
		return true
	}
	// fe80::/10 link-local, fec0::/10 site-local (RFC 3879), ff00::/8 multicast
	return a[0] == 0xFF || a[0] == 0xFE && a[1] >= 0x80
}

// isNAT64 says whether a is in the well-known prefix 64:ff9b::/96, RFC 6052.
func isNAT64(a [16]byte) bool {
	return binary.BigEndian.Uint64(a[0:]) == 0x0064_ff9b_0000_0000 && binary.BigEndian.Uint32(a[8:]) == 0
}

// embedded4 returns the IPv4 addresses to which an IPv6 address may lead through a
// translator or an automatic tunnel: NAT64 (RFC 6052; in the local-use prefix of RFC 8215
// each of the lengths that fit), SIIT (RFC 2765), 6to4 (RFC 3056), Teredo (RFC 4380),
// ISATAP (RFC 5214) and IPv4-compatible addresses (RFC 4291, Section 2.5.5.1).
func embedded4(addr netip.Addr) (out [4]netip.Addr, n int) {
	if !addr.Is6() {
		return out, 0
	}
	a := addr.As16()
	add := func(b0, b1, b2, b3 byte) {
		out[n] = netip.AddrFrom4([4]byte{b0, b1, b2, b3})
		n++
	}
	high, mid, low := binary.BigEndian.Uint64(a[0:]), binary.BigEndian.Uint32(a[8:]), a[12:16]
	switch {
	case isNAT64(a):
		add(low[0], low[1], low[2], low[3])
	case high>>16 == 0x0064_ff9b_0001: // 64:ff9b:1::/48; byte 8 is left out, RFC 6052, Section 2.2
		add(a[6], a[7], a[9], a[10])
		add(a[7], a[9], a[10], a[11])
		add(a[9], a[10], a[11], a[12])
		add(low[0], low[1], low[2], low[3])
	case a[0] == 0x20 && a[1] == 0x02: // 2002:V4::/16
		add(a[2], a[3], a[4], a[5])
	case high>>32 == 0x2001_0000: // the client's address, inverted
		add(^a[12], ^a[13], ^a[14], ^a[15])
	case high == 0 && (mid == 0 || mid == 0xFFFF_0000): // ::V4, ::ffff:0:V4
		add(low[0], low[1], low[2], low[3])
	case mid&^0x0200_0000 == 0x0000_5EFE: // ::[02]00:5efe:V4 as interface identifier
		add(low[0], low[1], low[2], low[3])
	}
	return out, n
}
