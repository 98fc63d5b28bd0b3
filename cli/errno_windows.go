package cli

import "syscall"

// The errors of a bind that fails, by Winsock's numbers: package syscall has
// invented ones under the names that other systems use.
const (
	addrInUse    = syscall.Errno(10048) // WSAEADDRINUSE
	addrNotAvail = syscall.Errno(10049) // WSAEADDRNOTAVAIL
)
