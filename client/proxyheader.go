package client

import (
	"encoding/binary"
	"net/netip"
)

// proxySignature begins a header of the PROXY protocol, version 2 (HAProxy,
// doc/proxy-protocol.txt, Section 2.2).
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// What a header stands before: a connection, or each datagram.
const (
	proxyStream   = 1
	proxyDatagram = 2
)

// maxProxyHeader is the longest header, with IPv6.
const maxProxyHeader = 16 + 2*(16+2)

// appendProxyHeader appends a header that says who a connection or a datagram is from and
// where it came to.
func appendProxyHeader(b []byte, transport byte, from, to netip.AddrPort) []byte {
	const (
		versionProxy = 0x21 // version 2, on behalf of another
		inet, inet6  = 0x10, 0x20
	)
	b = append(append(b, proxySignature...), versionProxy)
	if from.Addr().Is4() && to.Addr().Is4() {
		b = append(b, inet|transport)
		b = binary.BigEndian.AppendUint16(b, 2*(4+2))
		b = append(append(b, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	} else {
		b = append(b, inet6|transport)
		b = binary.BigEndian.AppendUint16(b, 2*(16+2))
		f, t := from.Addr().As16(), to.Addr().As16()
		b = append(append(b, f[:]...), t[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, from.Port())
	return binary.BigEndian.AppendUint16(b, to.Port())
}
