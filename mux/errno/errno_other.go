//go:build !windows

package errno

import "syscall"

// The errors of sockets, as Unix systems call them.
const (
	Access       = syscall.EACCES
	AddrInUse    = syscall.EADDRINUSE
	AddrNotAvail = syscall.EADDRNOTAVAIL
	Again        = syscall.EAGAIN
	HostUnreach  = syscall.EHOSTUNREACH
	NetUnreach   = syscall.ENETUNREACH
	NoBufs       = syscall.ENOBUFS
	Refused      = syscall.ECONNREFUSED
	Reset        = syscall.ECONNRESET
	TimedOut     = syscall.ETIMEDOUT
	TooLong      = syscall.EMSGSIZE
)
