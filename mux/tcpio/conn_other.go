//go:build !linux

package tcpio

import (
	"net"
	"net/netip"
	"syscall"
)

// bare says that there are such calls here.
const bare = false

func (c *Conn) readNow(uintptr) bool  { return true }
func (c *Conn) writeNow(uintptr) bool { return true }

// CloseWrite ends the direction out.
func CloseWrite(tcp *net.TCPConn) error { return tcp.CloseWrite() }

// Inline does nothing here.
func Inline(syscall.RawConn) {}

// Connect does nothing here.
func Connect(syscall.RawConn, netip.AddrPort) {}
