package packet

import "net/netip"

// The tunnel's own addresses. They come from the benchmarking prefix of RFC
// 2544 and from a locally assigned one (RFC 4193): neither is ever routed, so
// they cannot be mistaken for a real destination.
var (
	TunnelPrefix4 = netip.MustParsePrefix("198.18.0.0/15")
	TunnelPrefix6 = netip.MustParsePrefix("fd6d:7073::/32")

	// ClientHost is the client, with as many addresses behind it as it needs
	// for more than 65,535 associations.
	ClientHost4 = netip.MustParseAddr("198.18.0.2")
	ClientHost6 = netip.MustParseAddr("fd6d:7073::2")

	// ServerHost is the server as a host inside the tunnel.
	ServerHost4 = netip.MustParseAddr("198.18.0.1")
	ServerHost6 = netip.MustParseAddr("fd6d:7073::1")
)

// InTunnel says whether addr is one of the tunnel's own.
func InTunnel(addr netip.Addr) bool {
	if addr.Is4() {
		a := addr.As4()
		return a[0] == 198 && a[1]&0xFE == 18
	}
	a := addr.As16()
	return a[0] == 0xFD && a[1] == 0x6D && a[2] == 0x70 && a[3] == 0x73
}

// The server's ports inside the tunnel.
const (
	EchoPort     = 7    // UDP: answers with what it gets
	DiscardPort  = 9    // UDP: hears which inner ports have ended, and tells which get no mapping
	AlivePort    = 11   // UDP: hears which inner ports go on, though they send nothing
	WordPort     = 13   // UDP: where words of the server to a person at the client come from
	ResolverPort = 53   // UDP: resolves names where the server is
	ExitPort     = 1080 // TCP: the SOCKS5 CONNECT exit
)
