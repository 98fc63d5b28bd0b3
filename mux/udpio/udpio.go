// Package udpio moves UDP datagrams between sockets and pooled Buffers in
// batches, without an allocation, a lock wait or a timestamp per datagram.
//
//  1. One goroutine runs a Loop. It asks epoll which sockets are readable,
//     reads each of them in batches (recv_linux.go) and hands every batch to
//     the socket's Handler; after all ready sockets of a round it calls the
//     Loop's after function once, so that what the handlers queued leaves in
//     one piece.
//  2. Any goroutine that has datagrams to send owns a Writer. It collects
//     them by socket and by run (writer_linux.go) and Flush gives them to the
//     kernel (send_linux.go), runs of one destination and one size as a single
//     GSO message.
//
// The *_linux.go files are the fast path. Elsewhere, and on Linux with the
// build tag mpsocks_portable, the *_other.go files offer the same types over
// net.UDPConn with a goroutine per socket.
package udpio

import (
	"net/netip"
	"sync/atomic"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// A Message is one received datagram.
type Message struct {
	Buf  *buf.Buffer    // the payload, with buf.Headroom free in front
	Addr netip.AddrPort // the sender; IPv4 is never in its IPv4-mapped form
	TOS  uint8          // TOS or Traffic Class (DSCP and ECN) if Options.TOS was set, else 0
	TTL  uint8          // time to live or hop limit if Options.Transparent or TTL was set, else 0
	To   netip.AddrPort // where it was sent to if Options.Transparent was set, else invalid
}

// A Failure is an ICMP error about a datagram that a socket has sent.
type Failure struct {
	To         netip.AddrPort // where it was sent to
	From       netip.Addr     // who says it
	Type, Code uint8          // in the numbers of the address family
}

// A Handler takes a batch of datagrams that one socket received, in order of
// arrival. It owns every msgs[i].Buf: it sets to nil what it keeps, and the
// Loop releases the others after the call. The slice itself is borrowed until
// return. Handlers of one Loop never run at the same time; they must not block.
// A payload given to a Writer must outlive the Writer's Flush: keep the Buffer
// until then, or flush before returning.
type Handler func(c *Conn, msgs []Message)

// Options are the choices for one socket. The zero value is a plain socket.
type Options struct {
	// Offload uses UDP GSO and GRO where the kernel has them and is not known
	// to corrupt them.
	Offload bool
	// TOS asks for the received TOS or Traffic Class of each datagram.
	TOS bool
	// TTL asks for the received time to live or hop limit of each datagram.
	TTL bool
	// Failed, if set, is told of datagrams that did not arrive, as far as ICMP says it.
	// It is called as a Handler is. Linux only; elsewhere nothing is told.
	Failed func(c *Conn, f *Failure)
	// Reuse shares the address with other sockets that also set it
	// (SO_REUSEPORT). Linux only; elsewhere Listen fails.
	Reuse bool
	// Transparent binds to addresses that are not this machine's, and takes what is
	// sent to any that the firewall gives to the socket (nftables TPROXY): each Message
	// then says where it was sent to, and with which time to live. It takes
	// CAP_NET_ADMIN. Linux only; elsewhere Listen fails.
	Transparent bool
	// Mark is the socket's mark (SO_MARK), for rules of routing; 0 is none. It takes
	// CAP_NET_ADMIN. Linux only; elsewhere Listen fails.
	Mark uint32
	// Owner is whose the socket is, of a type that can be compared: where those of several
	// have something, each has a turn, however many sockets it has. Linux only; elsewhere each
	// socket has.
	Owner any
	// RecvBuffer and SendBuffer are the socket buffer limits in bytes, best
	// effort; 0 means defaultBuffer. They are limits: an idle socket uses none.
	RecvBuffer, SendBuffer int
}

// defaultBuffer is the socket buffer limit in each direction: 8 ms of a
// gigabit link, so that a round over other sockets loses nothing. The kernel
// silently lowers it to net.core.rmem_max or wmem_max.
const defaultBuffer = 1 << 20

// buffer returns the limit to set for a configured one.
func buffer(n int) int {
	if n <= 0 {
		return defaultBuffer
	}
	return n
}

// A DropReason says why a datagram was given up.
type DropReason uint8

// The reasons for drops, both of receiving and of sending.
const (
	DropFull         DropReason = iota // the socket's or the device's send queue was full (EAGAIN, ENOBUFS)
	DropClosed                         // the Conn was closed
	DropMisaddressed                   // no destination, or one of the other address family
	DropUnreachable                    // no route, or ICMP said so of this or of an earlier datagram
	DropTooLong                        // longer than any datagram (EMSGSIZE), or cut off on receipt
	DropOther                          // any other error of the kernel
	dropReasons                        // how many there are
)

var dropNames = [dropReasons]string{"full", "closed", "misaddressed", "unreachable", "too-long", "other"}

// String returns a word for metrics.
func (r DropReason) String() string { return dropNames[r] }

// Stats is a snapshot of the counters of a Loop or a Writer.
type Stats struct {
	Datagrams uint64              // received or sent
	Calls     uint64              // system calls that moved them
	Errors    uint64              // ICMP errors collected from sockets; none of them ends one
	Fallbacks uint64              // GSO messages that the kernel refused and that were sent singly
	Drops     [dropReasons]uint64 // by DropReason
}

// Add adds the counters of o to s, for sums over several Writers.
func (s *Stats) Add(o Stats) {
	s.Datagrams += o.Datagrams
	s.Calls += o.Calls
	s.Errors += o.Errors
	s.Fallbacks += o.Fallbacks
	for i := range s.Drops {
		s.Drops[i] += o.Drops[i]
	}
}

// Dropped returns the number of drops for all reasons.
func (s Stats) Dropped() uint64 {
	var n uint64
	for _, d := range s.Drops {
		n += d
	}
	return n
}

// counters are what Stats is a snapshot of. They have one writer, which adds
// once per batch, and any number of readers.
type counters struct {
	datagrams, calls, errors, fallbacks atomic.Uint64
	drops                               [dropReasons]atomic.Uint64
}

func (c *counters) snapshot() Stats {
	s := Stats{
		Datagrams: c.datagrams.Load(),
		Calls:     c.calls.Load(),
		Errors:    c.errors.Load(),
		Fallbacks: c.fallbacks.Load(),
	}
	for i := range s.Drops {
		s.Drops[i] = c.drops[i].Load()
	}
	return s
}
