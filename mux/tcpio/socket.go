// Package tcpio has TCP sockets whose calls never wait in the kernel and are made as such, without what
// Go's scheduler does around calls that may: it wakes the thread that watches them, which then looks
// every 20 us as long as there is work, and takes the processor from who is in one for longer. A connection
// that carries little costs less than that. Waiting is Go's poller's. On other systems than Linux, and with the
// build tag mpsocks_portable, the sockets are package net's. AcceptAll is how all that listens here
// takes connections, whatever their kind.
package tcpio

import (
	"net"
	"syscall"
)

// A Socket is a TCP connection itself, package net's or a Conn: what wraps one may count or
// limit.
type Socket interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
	SetLinger(sec int) error
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}
