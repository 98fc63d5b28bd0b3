package status

import (
	"fmt"
	"net/netip"
)

// PACType is the media type of PAC.
const PACType = "application/x-ns-proxy-autoconfig"

// PAC is a proxy auto-configuration file, for browsers and desktops that take the URL of one:
// everything by a client's port but names and addresses of the local network.
func PAC(port netip.AddrPort) string {
	at := netip.AddrPortFrom(port.Addr().Unmap().WithZone(""), port.Port()) // a zone may be any text
	return fmt.Sprintf(`function FindProxyForURL(url, host) {
  if (isPlainHostName(host) || dnsDomainIs(host, ".local") || dnsDomainIs(host, ".lan")) return "DIRECT";
  if (/^(127\.\d+|10\.\d+|192\.168|169\.254|172\.(1[6-9]|2\d|3[01]))\.\d+\.\d+$/.test(host) || host == "[::1]" || host == "::1") return "DIRECT";
  return "SOCKS5 %s; SOCKS %[1]s";
}
`, at)
}
