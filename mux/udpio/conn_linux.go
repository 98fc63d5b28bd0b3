//go:build linux && !mpsocks_portable

package udpio

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/lull"
	"github.com/mpsocks/mpsocks/mux/zones"
)

// A Conn is one bound UDP socket: a bare descriptor that a Loop reads and
// Writers send on. It holds no buffers, no goroutine and no timer.
type Conn struct {
	// Set by Listen, never changed.
	fd      int
	id      uint32 // unique among the process's Conns until it wraps, for the Writers' tables
	v6      bool
	loop    *Loop
	owner   *owner // in loop
	slot    int    // its index in loop.conns
	handler Handler
	failed  func(*Conn, *Failure) // or nil
	local   netip.AddrPort

	// state is closedBit and the number of calls that use fd right now. The
	// descriptor is closed by whoever finds the Conn closed and unused, so
	// that its number is never given to another file under a running call.
	state atomic.Int32
	// gsoLimit is the length from which segments are no longer sent by GSO; 0
	// is off. Writers lower it when the kernel refuses a run, which they note in
	// lowered (connNow), and lift it after gsoRest to gsoMost, set by Listen.
	gsoLimit atomic.Int32
	gsoMost  int32
	lowered  atomic.Int64

	// Owned by the Loop's goroutine: the round of the last read, and whether
	// it found several datagrams.
	round uint32
	busy  bool
	// faulty: something is in its error queue; waits: it is in its owner's queue; hidden: epoll
	// does not tell of it meanwhile.
	faulty, waits, hidden bool
	rest                  lull.Reader // beside: whether it rests between two reads

	gathers atomic.Bool // see Gather
}

const closedBit = 1 << 30

// gsoRest is how long a socket avoids the trains that the kernel refused: the
// route may have changed since, or the one peer with a narrow path gone. A vain
// attempt costs a system call or a few.
const gsoRest = time.Minute

// connEpoch is what lowered counts from.
var connEpoch = time.Now()

func connNow() int64 { return int64(time.Since(connEpoch)) }

var connIDs atomic.Uint32

// open creates, configures and binds the socket of a new Conn.
func open(local netip.AddrPort, opt Options) (*Conn, error) {
	addr := local.Addr().Unmap()
	if !addr.IsValid() {
		return nil, fmt.Errorf("listen udp %s: no address", local)
	}
	local = netip.AddrPortFrom(addr, local.Port())
	c := &Conn{id: connIDs.Add(1), v6: addr.Is6(), local: local}
	family := unix.AF_INET
	if c.v6 {
		family = unix.AF_INET6
	}
	var err error
	c.fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("listen udp %s: %w", local, os.NewSyscallError("socket", err))
	}
	if err := c.configure(opt); err != nil {
		unix.Close(c.fd)
		return nil, fmt.Errorf("listen udp %s: %w", local, err)
	}
	return c, nil
}

// configure sets the socket options and binds. The path MTU discovery mode
// stays the system's default, which lets the kernel fragment: an application
// behind a proxy cannot ask for DF, and datagrams of 65,507 bytes must leave.
func (c *Conn) configure(opt Options) error {
	if c.v6 {
		if err := unix.SetsockoptInt(c.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return os.NewSyscallError("setsockopt IPV6_V6ONLY", err)
		}
	}
	if opt.Reuse {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return os.NewSyscallError("setsockopt SO_REUSEPORT", err)
		}
	}
	if opt.Mark != 0 {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_MARK, int(opt.Mark)); err != nil {
			return os.NewSyscallError("setsockopt SO_MARK", err)
		}
	}
	if opt.Transparent {
		if err := c.transparent(); err != nil {
			return err
		}
	}
	// Best effort from here: a socket without these still carries datagrams.
	_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer(opt.RecvBuffer))
	_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, buffer(opt.SendBuffer))
	if opt.TOS {
		if c.v6 {
			_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
		} else {
			_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
		}
	}
	if opt.TTL {
		if c.v6 {
			_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
		} else {
			_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
		}
	}
	if opt.Failed != nil {
		c.hearFailures()
	}
	if opt.Offload {
		can := probe()
		if can.gro {
			_ = unix.SetsockoptInt(c.fd, unix.SOL_UDP, unix.UDP_GRO, 1)
		}
		if can.gso {
			c.gsoMost = maxPayload6 + 1
			c.gsoLimit.Store(c.gsoMost)
		}
	}
	var sa sockaddr
	var z zones.Memory
	size := putSockaddr(&sa, c.local, c.v6, &z)
	if _, _, errno := unix.RawSyscall(unix.SYS_BIND, uintptr(c.fd), uintptr(unsafe.Pointer(&sa)), uintptr(size)); errno != 0 {
		return os.NewSyscallError("bind", errno)
	}
	if c.local.Port() == 0 {
		size := uint32(unix.SizeofSockaddrInet6)
		if _, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(c.fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size))); errno != 0 {
			return os.NewSyscallError("getsockname", errno)
		}
		c.local = netip.AddrPortFrom(c.local.Addr(), bigEndian(&sa.Port))
	}
	return nil
}

// transparent makes the socket one for other machines' addresses, which says of each
// datagram where it was sent to.
func (c *Conn) transparent() error {
	level, options := unix.IPPROTO_IP, []int{unix.IP_TRANSPARENT, unix.IP_RECVORIGDSTADDR, unix.IP_RECVTTL}
	if c.v6 {
		level, options = unix.IPPROTO_IPV6, []int{unix.IPV6_TRANSPARENT, unix.IPV6_RECVORIGDSTADDR, unix.IPV6_RECVHOPLIMIT}
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(c.fd, level, o, 1); err != nil {
			return os.NewSyscallError("setsockopt IP_TRANSPARENT", err)
		}
	}
	return nil
}

// LocalAddr returns the bound address, with the port that the kernel chose if
// none was asked for.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// Held is how many bytes of memory the kernel holds for what has come and was not read yet, and for
// what is on its way out.
func (c *Conn) Held() (n int) {
	if !c.acquire() {
		return 0
	}
	defer c.release()
	var m [9]uint32 // sk_meminfo's, uapi/linux/sock_diag.h
	size := uint32(unsafe.Sizeof(m))
	if _, _, e := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(c.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&m)), uintptr(unsafe.Pointer(&size)), 0); e == 0 {
		n = int(m[0]) + int(m[2]) // RMEM_ALLOC, WMEM_ALLOC
	}
	return n
}

// Connect lets the kernel drop what other peers send from now on, and lets
// Writers leave out the destination. Datagrams that were queued before may
// still reach the Handler: it looks at Message.Addr. Errors: net.ErrClosed, or
// the system's.
func (c *Conn) Connect(peer netip.AddrPort) error {
	if !c.acquire() {
		return fmt.Errorf("connect udp %s to %s: %w", c.local, peer, net.ErrClosed)
	}
	defer c.release()
	var sa sockaddr
	var z zones.Memory
	size := putSockaddr(&sa, peer, c.v6, &z)
	if size == 0 {
		return fmt.Errorf("connect udp %s to %s: %w", c.local, peer, unix.EAFNOSUPPORT)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(c.fd), uintptr(unsafe.Pointer(&sa)), uintptr(size)); errno != 0 {
		return fmt.Errorf("connect udp %s to %s: %w", c.local, peer, os.NewSyscallError("connect", errno))
	}
	return nil
}

// Close closes the socket. It is idempotent and safe from any goroutine,
// handlers included, and never waits. After it returns no call of the Handler
// begins; one that had begun may still be running, and the port is free when
// it and the sends that were under way have returned.
func (c *Conn) Close() error {
	old := c.state.Or(closedBit)
	if old&closedBit != 0 {
		return nil
	}
	c.loop.forget(c)
	if old == 0 {
		unix.Close(c.fd)
	}
	return nil
}

// drainMost is how many batches Drain takes at most: as much as a socket's buffer holds. Who
// goes on sending does not hold up the Loop's other sockets.
const drainMost = 64

// Drain gives the Handler what has come by the socket until now, and returns when it has it. A
// Handler must not call it.
func (c *Conn) Drain() {
	l := c.loop
	l.turn.Lock()
	defer l.turn.Unlock()
	if l.ended {
		return
	}
	for range drainMost {
		if l.took = 0; l.read(c) || c.closed() {
			break
		}
	}
	l.finish()
}

// gso returns the present gsoLimit.
func (c *Conn) gso() int32 {
	limit := c.gsoLimit.Load()
	if limit < c.gsoMost && connNow()-c.lowered.Load() > int64(gsoRest) && c.gsoLimit.CompareAndSwap(limit, c.gsoMost) {
		return c.gsoMost
	}
	return limit
}

// lower makes Writers send no segments of that length or more by GSO.
func (c *Conn) lower(limit int32) {
	c.lowered.Store(connNow())
	for {
		old := c.gsoLimit.Load()
		if old <= limit || c.gsoLimit.CompareAndSwap(old, limit) {
			return
		}
	}
}

// acquire keeps the descriptor open until release; false if it is closed.
func (c *Conn) acquire() bool {
	for {
		s := c.state.Load()
		if s&closedBit != 0 {
			return false
		}
		if c.state.CompareAndSwap(s, s+1) {
			return true
		}
	}
}

// release ends a use; the last use of a closed Conn closes the descriptor.
func (c *Conn) release() {
	if c.state.Add(-1) == closedBit {
		unix.Close(c.fd)
	}
}

func (c *Conn) closed() bool { return c.state.Load()&closedBit != 0 }
