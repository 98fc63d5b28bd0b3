//go:build !linux

package client

import "net/netip"

// RedirectLacks says that a redirect needs Linux.
func RedirectLacks(listen []netip.AddrPort) []Lack {
	if len(listen) == 0 {
		return nil
	}
	return []Lack{{"it needs Linux", "leave redirect out"}}
}
