//go:build linux && !mpsocks_portable

package udpio

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/zones"
)

const (
	// batchSize is the number of datagrams, or of GRO trains, of one recvmmsg
	// and the most datagrams that a Handler gets at once. With 32 the share of
	// the system call is below one hundredth, and the small Buffers are 64 KiB.
	batchSize = 32
	// overflowSize is the room behind the small Buffer of each slot: with it a
	// slot holds any datagram and any GRO train. Its pages stay untouched
	// until something long arrives.
	overflowSize = 65536
	// controlWords is the room for control messages, in 64-bit words: TOS or Traffic
	// Class, the segment size of UDP_GRO and the time to live (24 bytes each), and
	// where the datagram was sent to (48 bytes).
	controlWords = 15
	// maxICMP is how many ICMP errors are taken from a socket in one round,
	// lest a flood of them holds the others.
	maxICMP = 8
)

// A message header and the number of bytes moved, as recvmmsg and sendmmsg
// want it.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// receiver is the memory that recvmmsg writes to, one for all sockets of a
// Loop. Owned by the Loop's goroutine.
type receiver struct {
	hdrs    [batchSize]mmsghdr
	iovs    [batchSize][2]unix.Iovec
	names   [batchSize]sockaddr
	control [batchSize][controlWords]uint64
	bufs    [batchSize]*buf.Buffer // behind iovs[i][0]; nil once handed out
	tail    []byte                 // behind iovs[i][1]: batchSize * overflowSize
	msgs    [batchSize]Message     // the batch for the Handler
	queued  int                    // how many of msgs are filled
	zones   zones.Memory
}

func (r *receiver) init() {
	r.tail = make([]byte, batchSize*overflowSize)
	for i := range r.hdrs {
		r.iovs[i][1].Base = &r.tail[i*overflowSize]
		r.iovs[i][1].SetLen(overflowSize)
		h := &r.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Namelen = uint32(unsafe.Sizeof(sockaddr{}))
		h.Iov = &r.iovs[i][0]
		h.SetIovlen(2)
		h.Control = (*byte)(unsafe.Pointer(&r.control[i]))
		h.SetControllen(controlWords * 8)
		r.fill(i)
	}
}

// fill puts a fresh Buffer into a slot.
func (r *receiver) fill(i int) {
	b := buf.Get(buf.SmallSize)
	r.bufs[i] = b
	r.iovs[i][0].Base = unsafe.SliceData(b.Bytes())
	r.iovs[i][0].SetLen(buf.SmallSize)
}

func (r *receiver) release() {
	for i, b := range r.bufs {
		if b != nil {
			b.Release()
			r.bufs[i] = nil
		}
	}
	r.tail = nil
}

// read takes what one socket has, in at most maxBatches batches; epoll reports
// again what it leaves. It says whether it has seen that nothing is left.
//
// A socket that had one datagram the last time is asked for two: the kernel's
// vain look for the second costs less than asking epoll. If it had more, it is
// ready in the very next round, and is asked for a batch.
func (l *Loop) read(c *Conn) (drained bool) {
	if !c.acquire() {
		return false
	}
	defer c.release()
	want := uintptr(2)
	if c.busy || c.round == l.number-1 || c.rest.Rests() {
		want = batchSize
	}
	c.round = l.number
	r := &l.recv
	for batches, errs := 0, 0; batches < maxBatches && l.took < gatherBytes && !c.closed(); {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&r.hdrs)), want, 0, 0, 0)
		switch errno {
		case 0:
			batches++
			c.busy = n > 1
			l.deliver(c, int(n))
			if n < batchSize {
				return n < want
			}
		case unix.EAGAIN:
			c.busy = false
			return true
		case unix.EINTR:
		default:
			// An ICMP error for something sent earlier (RFC 4787, REQ-12: it
			// must not end the mapping). It is now taken from the socket;
			// datagrams may wait behind it.
			l.stats.errors.Add(1)
			l.erred = true
			if errs++; errs == maxICMP {
				return false
			}
		}
	}
	return false
}

// deliver hands the datagrams in the first n slots to the Handler and refills
// the slots.
func (l *Loop) deliver(c *Conn, n int) {
	r := &l.recv
	l.stats.calls.Add(1)
	for i := range n {
		h := &r.hdrs[i]
		size := int(h.n)
		m := Message{Addr: addrPort(&r.names[i], &r.zones)}
		segment := 0
		if h.hdr.Controllen > 0 {
			segment = m.parseControl(r.control[i][:], int(h.hdr.Controllen), &r.zones)
		}
		truncated := h.hdr.Flags&unix.MSG_TRUNC != 0
		h.hdr.Namelen = uint32(unsafe.Sizeof(sockaddr{}))
		h.hdr.SetControllen(controlWords * 8)
		switch {
		case truncated:
			l.stats.drops[DropTooLong].Add(1)
			continue
		case size <= buf.SmallSize && (segment == 0 || size <= segment):
			m.Buf = r.bufs[i]
			m.Buf.Resize(size)
			r.bufs[i] = nil
			l.push(c, m)
		default:
			l.split(c, m, i, size, segment)
		}
	}
	l.flush(c)
	for i := range n {
		if r.bufs[i] == nil {
			r.fill(i)
		}
	}
}

// split makes Messages of a long datagram, or of the segments of a GRO train
// (segment > 0), in slot i. They are copied into Buffers of the right size, but
// the first may stay where it is if all of them fit one batch: then nobody else
// has it before the rest is copied from behind it.
func (l *Loop) split(c *Conn, m Message, i, size, segment int) {
	r := &l.recv
	if segment == 0 {
		segment = size
	}
	head := r.bufs[i].Bytes()
	tail := r.tail[i*overflowSize : (i+1)*overflowSize]
	count := (size + segment - 1) / segment
	at := 0
	if segment <= buf.SmallSize && count <= batchSize {
		if r.queued+count > batchSize {
			l.flush(c)
		}
		m.Buf, r.bufs[i] = r.bufs[i], nil
		m.Buf.Resize(segment)
		l.push(c, m)
		at = segment
	}
	for at < size {
		n := min(segment, size-at)
		m.Buf = buf.Get(n)
		gather(m.Buf.Bytes(), head, tail, at)
		l.push(c, m)
		at += n
	}
}

// gather copies from the concatenation of head and tail, beginning at an offset.
func gather(dst, head, tail []byte, at int) {
	if at < len(head) {
		n := copy(dst, head[at:])
		dst, at = dst[n:], at+n
	}
	if len(dst) > 0 {
		copy(dst, tail[at-len(head):])
	}
}

// push adds a message to the batch.
func (l *Loop) push(c *Conn, m Message) {
	r := &l.recv
	if r.queued == batchSize {
		l.flush(c)
	}
	r.msgs[r.queued] = m
	r.queued++
}

// flush gives the batch to the Handler, or to nobody if the Conn was closed
// meanwhile, and releases what was not kept.
func (l *Loop) flush(c *Conn) {
	r := &l.recv
	msgs := r.msgs[:r.queued]
	r.queued = 0
	if len(msgs) == 0 {
		return
	}
	l.stats.datagrams.Add(uint64(len(msgs))) // before anybody can see an answer
	l.gathered.datagrams += len(msgs)
	l.came += len(msgs)
	for i := range msgs {
		l.gathered.bytes += msgs[i].Buf.Len()
		l.took += msgs[i].Buf.Len()
	}
	if !c.closed() {
		c.handler(c, msgs)
	} else {
		l.stats.drops[DropClosed].Add(uint64(len(msgs)))
	}
	for i := range msgs {
		if b := msgs[i].Buf; b != nil {
			msgs[i].Buf = nil
			b.Release()
		}
	}
	if l.gathered.datagrams >= gatherDatagrams || l.gathered.bytes >= gatherBytes {
		l.finish()
	}
}

// parseControl reads the control messages of a received datagram into m, and returns the
// length of the segments of a train, or 0.
func (m *Message) parseControl(words []uint64, length int, z *zones.Memory) (segment int) {
	b := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
	length = min(length, len(b))
	for at := 0; at+unix.SizeofCmsghdr <= length; {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[at]))
		if int(h.Len) < unix.SizeofCmsghdr || int(h.Len) > length-at {
			return segment
		}
		data := at + unix.CmsgLen(0)
		size := int(h.Len) - unix.CmsgLen(0)
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS && size >= 1:
			m.TOS = b[data]
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && size >= 4:
			m.TOS = uint8(*(*int32)(unsafe.Pointer(&b[data])))
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && size >= 4:
			segment = int(*(*int32)(unsafe.Pointer(&b[data])))
		case size >= 4 && (h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TTL || h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_HOPLIMIT):
			m.TTL = uint8(*(*int32)(unsafe.Pointer(&b[data])))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_ORIGDSTADDR && size >= unix.SizeofSockaddrInet4,
			h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_ORIGDSTADDR && size >= unix.SizeofSockaddrInet6:
			var sa sockaddr
			copy((*[unix.SizeofSockaddrInet6]byte)(unsafe.Pointer(&sa))[:], b[data:data+size])
			m.To = addrPort(&sa, z)
		}
		at += unix.CmsgSpace(size)
	}
	return segment
}
