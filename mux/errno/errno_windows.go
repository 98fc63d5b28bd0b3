package errno

import "golang.org/x/sys/windows"

// The errors of sockets, as Winsock numbers them.
const (
	Access       = windows.WSAEACCES
	AddrInUse    = windows.WSAEADDRINUSE
	AddrNotAvail = windows.WSAEADDRNOTAVAIL
	Again        = windows.WSAEWOULDBLOCK
	HostUnreach  = windows.WSAEHOSTUNREACH
	NetUnreach   = windows.WSAENETUNREACH
	NoBufs       = windows.WSAENOBUFS
	Refused      = windows.WSAECONNREFUSED
	Reset        = windows.WSAECONNRESET
	TimedOut     = windows.WSAETIMEDOUT
	TooLong      = windows.WSAEMSGSIZE
)
