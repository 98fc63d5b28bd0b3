//go:build linux

// Package relay holds the yardsticks that stand between no proxy at all and
// the program under test: a minimal SOCKS5 UDP relay through one plain TCP
// connection, and one TLS connection relayed with io.Copy. They do the least
// that an honest relay can do and nothing more: no encryption in the first, no
// multiplexing in the second, no limits and no recovery in either. The bench
// runs their halves as child processes.
package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

const (
	// frameHead is the length of what follows (2 bytes) and the association
	// (2 bytes).
	frameHead = 4
	// readSize is what one read takes from the connection at most.
	readSize = 256 << 10
	// backlog is how much may wait for the connection; beyond it datagrams
	// are dropped, as a router would.
	backlog = 4 << 20
)

// errProtocol cannot happen between our own halves.
var errProtocol = errors.New("relay: malformed frame")

// A link is one end of the relay's TCP connection: frames of association
// number and SOCKS datagram, in batches. An empty datagram ends the
// association. It belongs to one loop.
type link struct {
	fd         int
	in         []byte
	start, end int // what was read and not yet taken
	out        []byte
}

func newLink(fd int) (*link, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return &link{fd: fd, in: make([]byte, readSize), out: make([]byte, 0, backlog+1<<16)}, nil
}

// fill reads once; the views of earlier frames end here. False says that there
// was nothing.
func (l *link) fill() (bool, error) {
	l.end = copy(l.in, l.in[l.start:l.end])
	l.start = 0
	n, err := unix.Read(l.fd, l.in[l.end:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("tunnel: %w", err)
	case n == 0:
		return false, io.EOF
	}
	l.end += n
	return true, nil
}

// next takes one whole frame; the data is a view until fill.
func (l *link) next() (id uint16, data []byte, ok bool) {
	b := l.in[l.start:l.end]
	if len(b) < 2 {
		return 0, nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if len(b) < n || n < frameHead {
		return 0, nil, false
	}
	l.start += n
	return binary.BigEndian.Uint16(b[2:]), b[frameHead:n], true
}

// put appends a frame of two pieces, or drops it when too much waits.
func (l *link) put(id uint16, head, data []byte) {
	if len(l.out) > backlog {
		return
	}
	l.out = binary.BigEndian.AppendUint16(l.out, uint16(2+len(head)+len(data)))
	l.out = binary.BigEndian.AppendUint16(l.out, id)
	l.out = append(append(l.out, head...), data...)
}

// flush writes what the kernel takes and says whether something is left.
func (l *link) flush() (left bool, err error) {
	done := 0
	for done < len(l.out) {
		n, err := unix.Write(l.fd, l.out[done:])
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			break
		}
		if err != nil {
			return false, fmt.Errorf("tunnel: %w", err)
		}
		done += n
	}
	l.out = l.out[:copy(l.out, l.out[done:])]
	return len(l.out) > 0, nil
}
