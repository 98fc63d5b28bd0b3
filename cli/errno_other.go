//go:build !windows

package cli

import "syscall"

// The errors of a bind that fails.
const (
	addrInUse    = syscall.EADDRINUSE
	addrNotAvail = syscall.EADDRNOTAVAIL
)
