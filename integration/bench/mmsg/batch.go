//go:build linux

// Package mmsg moves UDP datagrams in batches with as little processor time as
// the kernel allows: recvmmsg and sendmmsg on raw IPv4 sockets, nothing else.
// The load generator, the echo server and the baseline relay of the bench run
// on it. It shares no code with the program under test on purpose: a yardstick
// must not move when the measured thing does.
//
// Nothing here is safe for concurrent use; every batch belongs to one loop.
package mmsg

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BatchSize is how many datagrams one system call moves at most: beyond 64 the
// saving per datagram is under a percent and the first one waits for the last.
const BatchSize = 64

// header is struct mmsghdr of the kernel; Go pads it as C does.
type header struct {
	msg unix.Msghdr
	n   uint32
}

// A Receiver is a set of BatchSize buffers that one recvmmsg fills.
type Receiver struct {
	headers [BatchSize]header
	vectors [BatchSize]unix.Iovec
	names   [BatchSize]unix.RawSockaddrInet4
	store   []byte
	size    int
	named   bool
}

// NewReceiver returns a Receiver for datagrams of up to size bytes; longer ones
// are cut. With named set it learns where each datagram came from.
func NewReceiver(size int, named bool) *Receiver {
	r := &Receiver{store: make([]byte, BatchSize*size), size: size, named: named}
	for i := range r.headers {
		r.vectors[i].Base = &r.store[i*size]
		r.headers[i].msg.Iov = &r.vectors[i]
		r.headers[i].msg.SetIovlen(1)
		if named {
			r.headers[i].msg.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		}
	}
	return r
}

// Receive reads what is there, at most BatchSize datagrams, without waiting:
// unix.EAGAIN says that there is nothing.
func (r *Receiver) Receive(fd int) (int, error) {
	r.reset()
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.headers[0])), BatchSize, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// Wait is Receive on a blocking socket: it returns once there is at least one
// datagram, or unix.EAGAIN after the socket's receive timeout.
func (r *Receiver) Wait(fd int) (int, error) {
	r.reset()
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.headers[0])), BatchSize, unix.MSG_WAITFORONE, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// reset makes the whole of every buffer available again.
func (r *Receiver) reset() {
	for i := range r.headers {
		r.vectors[i].SetLen(r.size)
		if r.named {
			r.headers[i].msg.Namelen = unix.SizeofSockaddrInet4
		}
	}
}

// Data returns the i-th datagram of the last call; it is valid until the next.
func (r *Receiver) Data(i int) []byte {
	return r.store[i*r.size : i*r.size+min(int(r.headers[i].n), r.size)]
}

// Source returns where the i-th datagram came from (a named Receiver only).
func (r *Receiver) Source(i int) netip.AddrPort { return address(&r.names[i]) }

// Echo sends the first n datagrams back where they came from (a named Receiver
// only) and returns how many the kernel took.
func (r *Receiver) Echo(fd, n int) int {
	for i := range n {
		r.vectors[i].SetLen(min(int(r.headers[i].n), r.size))
	}
	return send(fd, r.headers[:n])
}

// A Sender gathers datagrams for one sendmmsg.
type Sender struct {
	headers [BatchSize]header
	vectors [BatchSize]unix.Iovec
	names   [BatchSize]unix.RawSockaddrInet4
	n       int
}

// NewSender returns an empty Sender.
func NewSender() *Sender {
	s := &Sender{}
	for i := range s.headers {
		s.headers[i].msg.Iov = &s.vectors[i]
		s.headers[i].msg.SetIovlen(1)
		s.names[i].Family = unix.AF_INET
	}
	return s
}

// Full says that Flush must come before the next Add.
func (s *Sender) Full() bool { return s.n == BatchSize }

// Len returns the number of datagrams waiting.
func (s *Sender) Len() int { return s.n }

// Add appends one datagram, borrowed until Flush. The zero dst stands for the
// socket's own peer.
func (s *Sender) Add(data []byte, dst netip.AddrPort) {
	i := s.n
	s.n++
	s.vectors[i].Base = unsafe.SliceData(data)
	s.vectors[i].SetLen(len(data))
	if !dst.IsValid() {
		s.headers[i].msg.Name, s.headers[i].msg.Namelen = nil, 0
		return
	}
	s.names[i].Addr = dst.Addr().As4()
	port := dst.Port()
	s.names[i].Port = port<<8 | port>>8
	s.headers[i].msg.Name = (*byte)(unsafe.Pointer(&s.names[i]))
	s.headers[i].msg.Namelen = unix.SizeofSockaddrInet4
}

// Flush sends what was added and returns how many datagrams the kernel took;
// the others are dropped, as a network card would.
func (s *Sender) Flush(fd int) int {
	n := s.n
	s.n = 0
	if n == 0 {
		return 0
	}
	return send(fd, s.headers[:n])
}

// send repeats sendmmsg until everything is sent or refused. A refused
// datagram is skipped: an earlier datagram's ICMP error is reported on a later
// call and says nothing about the datagrams behind it.
func send(fd int, headers []header) (sent int) {
	for len(headers) > 0 {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&headers[0])), uintptr(len(headers)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			sent += int(n)
			headers = headers[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			return sent
		default:
			headers = headers[1:]
		}
	}
	return sent
}

func address(name *unix.RawSockaddrInet4) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(name.Addr), name.Port<<8|name.Port>>8)
}
