package stream

import (
	"net/netip"
	"sync"

	"github.com/mpsocks/mpsocks/mux/buf"
)

// A block is all that a stream's two directions stand at, RFC 9293's transmission control
// block (Section 3.3.1). Segments go into it (receive.go) and come out of it (send.go), by
// the windows that both ends allow (window.go). It is a part of a Stream, whose lock is
// held by whoever calls.
type block struct {
	table         *Table
	local, remote netip.AddrPort

	readable     sync.Cond
	writable     sync.Cond
	readDeadline deadline

	// Sending. Offsets count data bytes from 0; offset 0 has the sequence
	// number iss+1, as SYN takes one.
	iss       uint32
	synDue    bool // SYN may leave even without data
	synSent   bool
	queue     queue
	queued    int    // bytes in queue
	charged   int64  // memory of all the stream's buffers, as the table counts it
	sent      uint64 // offset of the next byte that next takes
	acked     uint64
	edge      uint64 // the peer takes bytes before this offset
	shift     uint8  // scale of the peer's window
	sendLimit int    // Write waits while queued reaches it
	waiting   int    // writers that wait
	writing   bool   // one Write at a time
	finDue    bool
	finSent   bool
	finAcked  bool
	id        uint32 // Identification of the next packet

	// Receiving. Offset 0 has the sequence number irs+1.
	irs      uint32
	peerSYN  bool
	unheard  bool           // the table counts it among those whose SYN has not come
	early    []earlySegment // came before the peer's SYN
	ackEarly earlyAck       // the same, without data
	received uint64         // everything before this offset came
	ways     uint64         // the subflows that bytes came by since waysAt, a bit each,
	waysOld  uint64         // and in the time before that
	waysAt   int64
	highest  uint64                   // end of the furthest byte that came
	ready    queue                    // in order, not read yet
	unread   int                      // bytes in ready, in the outlet and in the hands of WriteTo
	outlet   *outlet                  // while WriteTo waits, or Pour is on: where they write to, if that is a socket
	holder   *Inbox                   // writes to the outlet: WriteTo has to wait for it
	head     head                     // of what comes, see Pour; nil = there is none
	failure  error                    // of the outlet's socket
	flow     func()                   // what is left of Pour, for a goroutine; nil = nothing, or it runs
	ended    func(n int64, err error) // hears of the end of Pour; nil with flow
	by       *Inbox                   // who brings the segment that is being taken
	news     bool                     // it brought something for who waits,
	stirred  bool                     // who is woken by an Inbox that has noted it
	pieces   []piece                  // out of order, sorted
	promised uint64                   // the peer may send bytes before this offset
	edges    [4]uint64                // the last values of promised, those far enough apart
	meter    windowMeter
	limit    int    // how much unread data is allowed
	grewAt   uint64 // what had been read when limit last grew
	beyond   uint64 // most that lay beyond a gap since
	finKnown bool
	finAt    uint64 // with finKnown: the peer's data ends here
	peerFIN  bool   // all data and the FIN came
	ackOwed  bool   // an ACK waits for a segment to go with, or for tick
	ackDue   bool   // it waits no longer

	// Ending.
	closed     bool  // Close was called: nobody reads any more
	err        error // set: the stream is dead
	rstDue     bool
	rstLast    bool   // nobody writes any more: RST follows what is queued
	rstEarly   bool   // a RST came that waits for the SYN before it
	rstSeq     uint32 // its sequence number
	rstKnown   bool   // a RST came that waits for data before it
	rstAt      uint64 // the peer's data ends here then
	failed     func() // see AfterFailure
	removed    bool   // no longer in the table
	writtenOff bool   // see cutOff
	awake      bool   // the session knows that next may return something

	// For tick.
	mark  uint64 // changes with every progress
	since int64  // when mark changed last
}

// rouse has those who wait for what comes look. The lock is held.
func (c *block) rouse() {
	if c.flow != nil {
		go c.flow()
		c.flow, c.ended = nil, nil
	}
	c.readable.Broadcast()
}

// through ends what Pour began if all has come and is written, and says whom to tell, without
// the lock; else it is rouse. The lock is held.
func (c *block) through() (ended func()) {
	if c.ended == nil || !c.peerFIN || c.head != nil || c.holder != nil || c.ready.front() != nil || c.closed || c.failure != nil || c.readDeadline.expired {
		c.rouse()
		return nil
	}
	tell, n := c.ended, c.outlet.taken
	c.outlet, c.flow, c.ended = nil, nil, nil
	return func() { tell(n, nil) }
}

// abort kills the stream and tells the peer.
func (c *block) abort(err error) {
	if c.err != nil {
		return
	}
	c.rstDue = c.synSent || c.peerSYN || len(c.early) > 0
	if !c.peerSYN && len(c.early) > 0 {
		// Acknowledge what came, so that the peer believes the RST.
		c.peerSYN, c.irs = true, c.early[0].seq-1
	}
	c.die(err)
}

// die ends the stream without a word to the peer. What came in order can still
// be read, everything else is given back.
func (c *block) die(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	if c.failed != nil {
		go c.failed()
		c.failed = nil
	}
	for b := c.queue.pop(); b != nil; b = c.queue.pop() {
		c.charge(-b.Held())
		b.Release()
	}
	c.queued = 0
	c.dropEarly()
	for _, p := range c.pieces {
		c.charge(-p.b.Held())
		p.b.Release()
	}
	c.pieces = nil
	c.rouse()
	c.writable.Broadcast()
}

// dropReady gives back what nobody will read.
func (c *block) dropReady() {
	for b := c.ready.pop(); b != nil; b = c.ready.pop() {
		c.unread -= b.Len()
		c.charge(-b.Held())
		b.Release()
	}
}

// finished says whether the table may forget the stream. Delivery is reliable,
// so the server needs no ACK of its FIN: after both FINs nothing comes that
// matters. The client waits for one, because it is the client that may use the
// ports again.
func (c *block) finished() bool {
	switch {
	case c.err != nil:
		return true
	case !c.peerFIN:
		return false
	case c.table.client:
		return c.finAcked
	}
	return c.finSent && !c.ackOwed
}

// charge counts n bytes of buffers more, or fewer.
func (c *block) charge(n int) {
	c.charged += int64(n)
	c.table.held.Add(int64(n))
}

// piece is data beyond a gap.
type piece struct {
	off uint64
	b   *buf.Buffer
}

func (p *piece) end() uint64 { return p.off + uint64(p.b.Len()) }
