//go:build linux

package target

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Chunk is what one read or write moves on a bulk stream: larger ones do not get
// cheaper.
const Chunk = 256 << 10

const (
	// echoers is how many connections are echoed at once: twice the workers
	// of the generator, so that none of them waits for another.
	echoers = 64
)

// The first byte of a bulk stream says what it wants. An upload is of whole Chunks: the
// first byte of each is Upload, or Last. So nobody on the way has to know half-closing.
const (
	Upload   = 'U'
	Last     = 'L' // the target answers with the count of bytes (8) and closes
	Download = 'D' // the target writes until the peer closes
)

// TCP opens both TCP services and hands their addresses to ready, then serves
// until the process ends: bulk, and echo of small connections.
func TCP(ready func(bulk, echo netip.AddrPort)) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fd, echo, err := listenEcho()
	if err != nil {
		return err
	}
	for range echoers {
		go echoLoop(fd) // ends with the process
	}
	ready(l.Addr().(*net.TCPAddr).AddrPort(), echo)
	for {
		c, err := l.Accept()
		if err != nil {
			return fmt.Errorf("bulk target: %w", err)
		}
		go serveBulk(c) // ends with its connection
	}
}

// serveBulk ends when the peer does; its errors are the peer's affair.
func serveBulk(c net.Conn) {
	defer c.Close()
	b := make([]byte, Chunk)
	if _, err := io.ReadFull(c, b[:1]); err != nil {
		return
	}
	if b[0] == Download {
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}
	count, at := uint64(1), 1
	for at < Chunk || b[0] != Last {
		n, err := c.Read(b[at%Chunk:])
		if err != nil {
			return
		}
		count += uint64(n)
		at = at%Chunk + n
	}
	_, _ = c.Write(binary.BigEndian.AppendUint64(nil, count))
}

// listenEcho opens a blocking listener: threads that wait in accept need no
// poller, which is half of what a one-byte connection costs.
func listenEcho() (fd int, bound netip.AddrPort, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, bound, fmt.Errorf("echo socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return -1, bound, fmt.Errorf("bind echo: %w", err)
	}
	if err := unix.Listen(fd, 4096); err != nil {
		return -1, bound, fmt.Errorf("listen echo: %w", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return -1, bound, fmt.Errorf("getsockname: %w", err)
	}
	return fd, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port)), nil
}

// echoLoop serves one connection after the other: bytes back until the end.
func echoLoop(listener int) {
	b := make([]byte, 2048)
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err == unix.EINTR || err == unix.ECONNABORTED {
			continue
		}
		if err != nil {
			return
		}
		// A connection that nobody ends must not occupy the thread for good.
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		for {
			n, err := unix.Read(fd, b)
			if err == unix.EINTR {
				continue
			}
			if n <= 0 || err != nil {
				break
			}
			if _, err := unix.Write(fd, b[:n]); err != nil {
				break
			}
		}
		_ = unix.Close(fd)
	}
}
