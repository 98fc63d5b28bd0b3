//go:build !linux

package sockdiag

import "net/netip"

// TCPOwner says that the system does not tell.
func TCPOwner(_, _ netip.AddrPort) (uid uint32, ok bool) { return 0, false }

// TCPOpen says that the system does not tell.
func TCPOpen(_, _ netip.AddrPort) (open, known bool) { return false, false }

// UDPOwner says that the system does not tell.
func UDPOwner(_, _ netip.AddrPort) (uid uint32, ok bool) { return 0, false }

// Programs knows nothing here: the system does not tell whose a socket is.
func Programs([][2]netip.AddrPort) map[netip.AddrPort]string { return nil }
