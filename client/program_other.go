//go:build !linux

package client

import "net/netip"

// programNames knows nothing here: the system does not tell whose a socket is.
func programNames([][2]netip.AddrPort) map[netip.AddrPort]string { return nil }
