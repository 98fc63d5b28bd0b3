//go:build !linux

package server

import "net/netip"

// localRoutes returns none: the addresses of interfaces are all that other systems take for
// their own.
func localRoutes() ([]netip.Prefix, error) { return nil, nil }
