//go:build linux && !mpsocks_portable

package udpio

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// sender is the memory that sendmmsg reads from: the messages for one socket.
// Owned by its Writer.
type sender struct {
	hdrs    [maxMessages]mmsghdr
	names   [maxMessages]sockaddr
	control [maxMessages]sendControl
	iovs    [maxPending]unix.Iovec
	n       int // messages in use
	iov     int // iovecs in use
}

// sendControl is room for three control messages, laid out for the kernel: TOS
// or Traffic Class (int), time to live or hop limit (int), then UDP_SEGMENT
// (uint16). It lets a train become single datagrams by leaving out its end.
type sendControl [9]uint64

func (o *sender) init() {
	for i := range o.hdrs {
		o.hdrs[i].hdr.Control = (*byte)(unsafe.Pointer(&o.control[i]))
	}
}

// sendGroup sends the runs of one socket.
func (w *Writer) sendGroup(g *group) {
	c, first := g.conn, g.first
	g.first = -1
	if !c.acquire() {
		for i := first; i >= 0; i = w.runs[i].next {
			w.drop(DropClosed, int(w.runs[i].count))
		}
		return
	}
	defer c.release()
	w.burst.Turn(c.id, int(g.cost))
	for i := first; i >= 0; i = w.runs[i].next {
		r := &w.runs[i]
		if !w.burst.Takes(c.id, int(r.count), int(r.bytes)) {
			w.transmit(c)
			Pause()
			w.pauses++
		}
		if r.count > 1 && r.segment < uint32(c.gso()) {
			w.stage(c, r, r.first, int(r.count))
			continue
		}
		// A run of several goes singly if GSO was switched off meanwhile.
		for at := r.first; at >= 0; at = w.pending[at].next {
			w.stage(c, r, at, 1)
		}
	}
	w.transmit(c)
}

// stage makes a message of count datagrams of a run.
func (w *Writer) stage(c *Conn, r *run, first int32, count int) {
	o := &w.out
	if o.n == maxMessages {
		w.transmit(c)
	}
	h := &o.hdrs[o.n].hdr
	h.Name, h.Namelen = nil, 0
	if r.dst.IsValid() {
		h.Name = (*byte)(unsafe.Pointer(&o.names[o.n]))
		h.Namelen = putSockaddr(&o.names[o.n], r.dst, c.v6, &w.zones)
		if h.Namelen == 0 {
			w.drop(DropMisaddressed, count)
			return
		}
	}
	h.Iov = &o.iovs[o.iov]
	h.SetIovlen(count)
	for at := first; count > 0; count-- {
		d := &w.pending[at]
		o.iovs[o.iov].Base = d.base
		o.iovs[o.iov].SetLen(int(d.len))
		o.iov++
		at = d.next
	}
	h.SetControllen(o.control[o.n].put(c.v6, r.tos, r.ttl, h.Iovlen > 1, r.segment))
	o.n++
}

// put writes the control messages for a TOS and a TTL, unless 0, and for the
// segment size of a train, and returns their length.
func (b *sendControl) put(v6 bool, tos, ttl uint8, train bool, segment uint32) int {
	n := 0
	if tos != 0 {
		n = b.number(n, v6, unix.IP_TOS, unix.IPV6_TCLASS, tos)
	}
	if ttl != 0 {
		n = b.number(n, v6, unix.IP_TTL, unix.IPV6_HOPLIMIT, ttl)
	}
	if train {
		p := unsafe.Add(unsafe.Pointer(b), n)
		h := (*unix.Cmsghdr)(p)
		h.Level, h.Type = unix.SOL_UDP, unix.UDP_SEGMENT
		h.SetLen(unix.CmsgLen(2))
		*(*uint16)(unsafe.Add(p, unix.CmsgLen(0))) = uint16(segment)
		n += unix.CmsgSpace(2)
	}
	return n
}

// number writes a control message with an int at n, of the type that the family has for
// it, and returns where it ends.
func (b *sendControl) number(n int, v6 bool, type4, type6 int32, value uint8) int {
	p := unsafe.Add(unsafe.Pointer(b), n)
	h := (*unix.Cmsghdr)(p)
	h.Level, h.Type = unix.IPPROTO_IP, type4
	if v6 {
		h.Level, h.Type = unix.IPPROTO_IPV6, type6
	}
	h.SetLen(unix.CmsgLen(4))
	*(*int32)(unsafe.Add(p, unix.CmsgLen(0))) = int32(value)
	return n + unix.CmsgSpace(4)
}

// transmit gives the staged messages to the kernel, as often as it takes.
func (w *Writer) transmit(c *Conn) {
	o := &w.out
	retried := 0 // the message at hand
	for at := 0; at < o.n; {
		n, errno := o.send(c.fd, at)
		if errno == 0 {
			w.stats.calls.Add(1)
			for ; n > 0; n-- {
				w.sent += int(o.hdrs[at].hdr.Iovlen)
				at++
			}
			retried = 0
			continue
		}
		h := &o.hdrs[at].hdr
		count := int(h.Iovlen)
		switch {
		case errno == unix.EAGAIN:
			// The socket's queue is full, for the later messages as well.
			for ; at < o.n; at++ {
				w.drop(DropFull, int(o.hdrs[at].hdr.Iovlen))
			}
			continue
		case errno == unix.EMSGSIZE && c.failed != nil && retried < retries(errno):
			retried++ // perhaps the word of a router about an earlier one
			continue
		case count > 1 && w.refused(c, h, errno):
			w.sendSingly(c, h)
		case w.again(h, errno, &retried):
			continue
		default:
			w.drop(dropReason(errno), count)
			w.zones.Forget()
		}
		at++
		retried = 0
	}
	clear(o.iovs[:o.iov])
	o.n, o.iov = 0, 0
}

// retries is how often a message is tried again after an error. Whoever takes one from a
// socket's error queue has the kernel report the next, if there is one.
func retries(errno unix.Errno) int {
	if errno == unix.ECONNREFUSED { // never of this message itself
		return 64
	}
	return 3
}

// again says whether a message that the kernel did not take is to be tried once
// more.
func (w *Writer) again(h *unix.Msghdr, errno unix.Errno, retried *int) bool {
	switch {
	case errno == unix.EINTR:
		return true
	case dropReason(errno) == DropUnreachable && *retried < retries(errno):
		// Most likely the ICMP answer to an earlier datagram, which the kernel
		// reports in place of sending this one; or EPERM from a firewall that
		// has not seen the fresh socket yet.
		w.stats.errors.Add(1)
		*retried++
		return true
	case errno == unix.EINVAL && h.Controllen > 0:
		// The system takes no TOS by control message: better none, which is
		// Not-ECT, than no datagram.
		h.SetControllen(0)
		return true
	}
	return false
}

// send calls the kernel for the messages from at on and returns how many it
// took. A lone message takes a shorter way. Raw system calls: nothing here
// waits, and a scheduler that took the processor away during a long batch
// would make the goroutine queue for it again. The price is that a stop of the
// world waits for the call: maxMessages bounds it.
func (o *sender) send(fd, at int) (int, unix.Errno) {
	h := &o.hdrs[at].hdr
	if at < o.n-1 {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&o.hdrs[at])), uintptr(o.n-at), 0, 0, 0)
		return int(n), errno
	}
	if h.Iovlen == 1 && h.Controllen == 0 {
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(h.Iov.Base)), uintptr(h.Iov.Len), 0, uintptr(unsafe.Pointer(h.Name)), uintptr(h.Namelen))
		return 1, errno
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(h)), 0)
	return 1, errno
}

// refused reports whether an error is one of GSO, and makes the socket avoid
// the like for a while: EIO means a device without checksum offload, or IPsec;
// EINVAL and EMSGSIZE mean segments longer than the path MTU, which must be
// fragmented.
func (w *Writer) refused(c *Conn, h *unix.Msghdr, errno unix.Errno) bool {
	limit := int32(0)
	switch errno {
	case unix.EIO, unix.EOPNOTSUPP:
	case unix.EINVAL, unix.EMSGSIZE:
		limit = int32(h.Iov.Len)
	default:
		return false
	}
	w.stats.fallbacks.Add(1)
	c.lower(limit)
	return true
}

// sendSingly sends the datagrams of one refused train with a call each. It
// reuses the train's header.
func (w *Writer) sendSingly(c *Conn, h *unix.Msghdr) {
	iovs := unsafe.Slice(h.Iov, int(h.Iovlen))
	h.SetIovlen(1)
	h.SetControllen(int(h.Controllen) - unix.CmsgSpace(2))
	retried := 0
	for at := 0; at < len(iovs); {
		h.Iov = &iovs[at]
		_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(c.fd), uintptr(unsafe.Pointer(h)), 0)
		switch {
		case errno == 0:
			w.stats.calls.Add(1)
			w.sent++
		case errno == unix.EAGAIN:
			w.drop(DropFull, len(iovs)-at)
			return
		case w.again(h, errno, &retried):
			continue
		default:
			w.drop(dropReason(errno), 1)
		}
		at++
		retried = 0
	}
}
