//go:build !linux

package paths

import "net/netip"

// routed says whether the routing tables lead to an address: here the dial tells.
func routed(string, netip.Addr, netip.Addr, uint32) bool { return true }

// leadsBy is the interface by which the default route leads: here nobody is asked.
func leadsBy(netip.Addr, uint32) string { return "" }

// duplicate finds none: here nobody is asked.
func duplicate(string) netip.Addr { return netip.Addr{} }

// silentRouter finds none: the neighbours of other systems are not read.
func silentRouter(string, netip.Addr, netip.Addr, uint32) (router netip.Addr, by string) {
	return netip.Addr{}, ""
}
