// Package tcpio makes those system calls on TCP sockets that never wait, as the sockets of
// package net do not block, without what Go's scheduler does around calls that may: it wakes the thread
// that watches them, which then looks every 20 us for a while, and takes the processor from
// who is in one for longer. A connection's few bytes of a handshake cost less than that.
package tcpio

import (
	"io"
	"net"
	"sync"
	"syscall"
)

// A Conn reads and writes a TCP connection, one call at a time.
type Conn struct {
	tcp *net.TCPConn
	raw syscall.RawConn

	p           []byte // of the call that runs
	n           int
	err         error
	read, write func(fd uintptr) bool
}

var conns = sync.Pool{New: func() any {
	c := new(Conn)
	c.read, c.write = c.readNow, c.writeNow
	return c
}}

// New makes a Conn for a connection that stays its caller's, who calls Free in the end.
func New(tcp *net.TCPConn) *Conn {
	c := conns.Get().(*Conn)
	c.tcp = tcp
	c.raw, _ = tcp.SyscallConn() // nil: closed, which the calls of tcp will say
	return c
}

// Free gives the Conn back; nobody may use it any more. The connection stays.
func (c *Conn) Free() {
	c.tcp, c.raw, c.err = nil, nil, nil
	conns.Put(c)
}

// Read implements io.Reader.
func (c *Conn) Read(p []byte) (int, error) {
	if !bare || c.raw == nil || len(p) == 0 {
		return c.tcp.Read(p)
	}
	if err := c.call(c.raw.Read, c.read, p); err != nil {
		return 0, err
	}
	if c.n == 0 {
		return 0, io.EOF
	}
	return c.n, nil
}

// Write implements io.Writer.
func (c *Conn) Write(p []byte) (written int, err error) {
	if !bare || c.raw == nil {
		return c.tcp.Write(p)
	}
	for written < len(p) {
		if err := c.call(c.raw.Write, c.write, p[written:]); err != nil {
			return written, err
		}
		written += c.n
	}
	return written, nil
}

// call waits until a call has been made, or for the deadline or the end.
func (c *Conn) call(wait func(func(fd uintptr) bool) error, f func(fd uintptr) bool, p []byte) error {
	c.p, c.n, c.err = p, 0, nil
	err := wait(f)
	if c.p = nil; err == nil {
		err = c.err
	}
	return err
}
