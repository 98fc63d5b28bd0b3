//go:build !linux

package paths

import "net/netip"

// RouteTrouble says nothing: the routes of other systems are not read.
func RouteTrouble(string, netip.Addr, netip.Addr, uint32) (words, remedy string) { return "", "" }
