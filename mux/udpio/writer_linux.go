//go:build linux && !mpsocks_portable

package udpio

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/zones"
)

const (
	// maxPending is how many datagrams a Writer collects before it flushes by
	// itself: what a 64 KiB read of a subflow holds at 256 bytes each.
	maxPending = 256
	// maxMessages is the number of messages of one sendmmsg: beyond 32 the
	// share of the system call is lost in the noise.
	maxMessages = 32
	// lookBack is how many of a socket's newest runs are tried before a
	// datagram opens a new one: a socket that talks to a few peers at once
	// still gets long runs.
	lookBack = 4
	// tableSize is that of the table from Conn to group: twice maxPending, so
	// that probing ends soon.
	tableSize = 2 * maxPending
)

// A Writer collects datagrams for any number of Conns and sends them in as few
// system calls as it can. It belongs to one goroutine at a time; several
// Writers may send on the same Conn. It holds about 40 KiB and needs no Close.
type Writer struct {
	// Collected by Add, emptied by Flush.
	pending []datagram
	runs    []run
	groups  []group
	last    int32 // group of the previous Add
	table   [tableSize]uint16

	// Since the last return of Flush.
	sent, dropped int
	pauses        int // in all

	burst Burst[uint32] // of Conns, by their ids
	stats counters
	zones zones.Memory
	out   sender
}

// A datagram is one payload, borrowed from Add until Flush.
type datagram struct {
	base *byte
	len  uint32
	next int32 // the next datagram of the run, or -1
}

// A run is datagrams of one socket for one destination that may leave as one
// GSO message: all of one size, but the last may be shorter.
type run struct {
	dst         netip.AddrPort
	tos, ttl    uint8
	open        bool // takes more
	count       int32
	segment     uint32
	bytes       uint32
	first, last int32 // in pending
	next, prev  int32 // run of the same group, or -1
}

// A group is the runs for one socket, in order.
type group struct {
	conn        *Conn
	gso         uint32 // segments shorter than this may form runs
	place       uint32 // in the table
	cost        int32  // of its datagrams, see Burst
	first, last int32  // in runs; sent = -1
}

// NewWriter returns an empty Writer.
func NewWriter() *Writer {
	w := &Writer{
		pending: make([]datagram, 0, maxPending),
		runs:    make([]run, 0, maxPending),
		groups:  make([]group, 0, maxPending),
	}
	w.out.init()
	return w
}

// Add queues a datagram on a Conn. The destination is the zero AddrPort on a
// connected Conn. A tos of 0 sends without an explicit TOS. The payload is
// borrowed until Flush returns or the Writer, being full, flushes by itself
// inside a later Add; the caller must leave it alone until Flush.
func (w *Writer) Add(c *Conn, dst netip.AddrPort, tos uint8, payload []byte) {
	w.AddTTL(c, dst, tos, 0, payload)
}

// AddTTL is Add with a time to live, or hop limit; 0 is the system's.
func (w *Writer) AddTTL(c *Conn, dst netip.AddrPort, tos, ttl uint8, payload []byte) {
	if len(w.pending) == maxPending {
		w.flush()
	}
	at := int32(len(w.pending))
	size := uint32(len(payload))
	w.pending = append(w.pending, datagram{base: unsafe.SliceData(payload), len: size, next: -1})
	g := w.group(c)
	g.cost += int32(size) + datagramCost
	if g.gso > size && size > 0 {
		for i, n := g.last, 0; i >= 0 && n < lookBack; i, n = w.runs[i].prev, n+1 {
			r := &w.runs[i]
			if r.dst != dst {
				continue
			}
			// Only the newest run for a destination may grow, or datagrams
			// would overtake each other.
			if !r.open || r.tos != tos || r.ttl != ttl || size > r.segment || r.bytes+size > maxPayload4 {
				break
			}
			w.pending[r.last].next = at
			r.last = at
			r.count++
			r.bytes += size
			r.open = size == r.segment && r.count < maxSegments
			return
		}
	}
	i := int32(len(w.runs))
	w.runs = append(w.runs, run{
		dst: dst, tos: tos, ttl: ttl, open: g.gso > size && size > 0,
		count: 1, segment: size, bytes: size,
		first: at, last: at, next: -1, prev: g.last,
	})
	if g.last >= 0 {
		w.runs[g.last].next = i
	} else {
		g.first = i
	}
	g.last = i
}

// group finds the group of a Conn or begins one.
func (w *Writer) group(c *Conn) *group {
	if int(w.last) < len(w.groups) && w.groups[w.last].conn == c {
		return &w.groups[w.last]
	}
	// Ids count up, so those that are in use together rarely collide.
	for i := c.id % tableSize; ; i = (i + 1) % tableSize {
		at := w.table[i]
		switch {
		case at == 0:
			w.last = int32(len(w.groups))
			w.groups = append(w.groups, group{conn: c, gso: uint32(c.gso()), place: i, first: -1, last: -1})
			w.table[i] = uint16(w.last) + 1
			return &w.groups[w.last]
		case w.groups[at-1].conn == c:
			w.last = int32(at) - 1
			return &w.groups[w.last]
		}
	}
}

// Flush sends what was added, in order per socket and destination, and returns
// how many datagrams were sent and dropped since it last returned. It never
// blocks: what the kernel does not take at once is dropped and counted.
func (w *Writer) Flush() (sent, dropped int) {
	w.flush()
	sent, dropped = w.sent, w.dropped
	w.sent, w.dropped = 0, 0
	return sent, dropped
}

// Stats returns the counters; any goroutine may call it.
func (w *Writer) Stats() Stats { return w.stats.snapshot() }

func (w *Writer) flush() {
	if len(w.pending) == 0 {
		return
	}
	before := w.sent
	w.burst.Drain()
	for i := range w.groups { // nobody else waits while one that gets much is given a pause
		if g := &w.groups[i]; g.cost <= maxBurst && g.conn.id != w.burst.to {
			w.sendGroup(g)
		}
	}
	for i := range w.groups {
		if g := &w.groups[i]; g.first >= 0 {
			w.sendGroup(g)
		}
	}
	w.stats.datagrams.Add(uint64(w.sent - before))
	// Forget the borrowed payloads and the Conns.
	for i := range w.groups {
		w.table[w.groups[i].place] = 0
	}
	clear(w.pending)
	clear(w.groups)
	w.pending, w.runs, w.groups = w.pending[:0], w.runs[:0], w.groups[:0]
	w.last = 0
}

func (w *Writer) drop(reason DropReason, n int) {
	w.dropped += n
	w.stats.drops[reason].Add(uint64(n))
}

// dropReason classes an error of sendmmsg.
func dropReason(errno unix.Errno) DropReason {
	switch errno {
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return DropFull
	case unix.EMSGSIZE:
		return DropTooLong
	case unix.EDESTADDRREQ, unix.EAFNOSUPPORT, unix.EISCONN, unix.ENOTCONN:
		return DropMisaddressed
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN,
		unix.ENONET, unix.EPROTO, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EACCES, unix.EPERM:
		return DropUnreachable
	}
	return DropOther
}
