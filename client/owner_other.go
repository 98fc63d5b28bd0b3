//go:build !linux

package client

import "net/netip"

// tcpOwner says that the system does not tell.
func tcpOwner(_, _ netip.AddrPort) (uid uint32, ok bool) { return 0, false }

// tcpOpen says that the system does not tell.
func tcpOpen(_, _ netip.AddrPort) (open, known bool) { return false, false }

// udpOwner says that the system does not tell.
func udpOwner(_, _ netip.AddrPort) (uid uint32, ok bool) { return 0, false }
