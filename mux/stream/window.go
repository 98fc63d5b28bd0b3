package stream

import (
	"slices"
	"time"
)

// The sizes and times of streams, and how their limits grow and shrink.

const (
	// initialWindow is what an end may send before it has heard of the
	// other's window, right behind its SYN: a constant of the protocol. 256
	// KiB is a round trip of 100 ms at 20 Mbit/s.
	initialWindow = 256 << 10
	// maxWindow is 300 ms at 200 Mbit/s; 16 bits with windowShift reach
	// twice as far.
	maxWindow = 8 << 20
	// windowShift is the window scale we announce (RFC 7323, Section 2): steps
	// of 256 bytes.
	windowShift = 8
	// maxShift is the largest that RFC 7323 allows.
	maxShift = 14

	// The send buffer holds only what the session has not pulled yet, so it
	// needs to cover the time a writer takes to wake up, not a round trip. What waits
	// longer leaves the processor's caches before it is encrypted.
	sendMin = 256 << 10
	sendMax = 512 << 10

	// payloadOf keeps a segment, with its longest headers (IPv6 40, TCP 20,
	// SYN options 8) and a DSS head (28), within one TLS record of 16 KiB.
	payloadOf = 16<<10 - 28 - 40 - 20 - 8
	// minCut is the least that next is asked for.
	minCut = 576

	// A segment up to this long is packed behind the one before it, so that
	// unread data holds at most about twice its size in buffers.
	packBelow = 8 << 10
	// maxEarly bounds what is kept of a stream whose SYN is still on its
	// way on a slower subflow.
	maxEarly = 1024
	// unheardMost bounds the streams of a session whose SYN is still on its way.
	unheardMost = 1024

	// memoryMost bounds the buffers of all streams of a session, to be sent and not
	// read; the session may set less, but not below memoryLeast. A half of it is
	// what windows and send buffers may grow by together, and a quarter what waits
	// to be sent.
	memoryMost  = 128 << 20
	memoryLeast = 1 << 20
	// When half of it is held, no window is larger than this.
	tightWindow = 64 << 10

	// A peer that answers nothing for this long is not coming.
	handshakeTime = 150 * time.Second
	// resetTime is how long a RST waits for the SYN that it overtook: many
	// times what paths differ by.
	resetTime = 2 * time.Second
	// A closed stream without progress is reset after this (as tcp_fin_timeout).
	lingerTime = 60 * time.Second
	// On a way shorter than this the initial window is a gigabit a second.
	shortWay = 2e6 // ns
	// nearMost is by how much the windows of all streams together grow on short ways, as long as
	// what is measured stays below nearWay, queues and all: further data only leaves the caches,
	// of the other half as well, which keeps it until it is acknowledged.
	nearMost = 2 << 20
	nearWay  = 8 * shortWay
	// lateTrips is in how many of the shortest round trips half of a window is read that is too small where
	// all that comes waits for a processor.
	lateTrips = 8
	// A stream that rests this long gives its windows back.
	idleTime = 5 * time.Second
)

// target is how far the peer may send by what has been read. Once nobody reads
// any more it does not move.
func (c *block) target() uint64 {
	if c.closed {
		return c.promised
	}
	return max(c.promised, c.received-uint64(c.unread)+uint64(c.allowed()))
}

// allowed is how much unread data is allowed for now. A narrow window is given again in
// full each time that a quarter of it is read, as any other.
func (c *block) allowed() int {
	if c.table.tight() {
		return min(c.limit, tightWindow)
	}
	return c.limit
}

// moved says whether the window is worth a packet of its own.
func (c *block) moved() bool {
	return !c.finKnown && c.target()-c.promised >= uint64(c.allowed())/4
}

// announce promises the peer all that can be promised and returns the window
// field that says so.
func (c *block) announce() uint16 {
	w := min((c.target()-c.received)>>windowShift, 65535)
	edge := c.received + w<<windowShift
	if edge <= c.promised {
		return uint16(w)
	}
	if edge-c.edges[0] >= uint64(c.allowed())/8 {
		copy(c.edges[1:], c.edges[:])
		c.edges[0] = edge
		if c.meter.promise(c.table.clock(), c.promised, c.read(), c.table.span.Load()) {
			c.growWindow(false)
		}
	}
	c.promised = edge
	return uint16(w)
}

// read is how far the application has read.
func (c *block) read() uint64 { return c.received - uint64(c.unread) }

// A windowMeter learns how much of a stream is read in a round trip. Data
// beyond an edge answers the promise of a further one, so it comes a round trip
// after it at least; the shortest lately counts, without queues. It looks at
// the clock a few times a window.
type windowMeter struct {
	at   int64  // when the promise was made; 0: none is under way
	edge uint64 // what was promised before

	rtt   int64
	rttAt int64 // when it was measured
	least int64 // the shortest of all

	since   int64 // what was read is counted since then,
	read    uint64
	product uint64 // bytes read in a round trip
}

// rttMemory is how long a round trip counts as the shortest: a stream can
// change to a longer way.
const rttMemory = 10e9

// promise notes that the window's edge is about to move on from edge, and says whether more is
// known now. What was
// read is counted from one promise to another, at least a round trip later: in
// bursts or not, a whole window then lies between them. Where paths differ the product
// is the farthest one's: what all carry has to fit while the last of it is under
// way (RFC 8684, Section 3.3.1), or the nearest path alone fills the window.
func (m *windowMeter) promise(now int64, edge, read uint64, span int64) (measured bool) {
	if m.at == 0 {
		m.at, m.edge = now, edge
	}
	trip := max(m.rtt, span)
	switch passed := now - m.since; {
	case m.since == 0:
		m.since, m.read = now, read
	case m.rtt > 0 && passed >= m.rtt:
		m.product = uint64(float64(read-m.read) * float64(trip) / float64(passed))
		m.since, m.read = now, read
		return true
	}
	return false
}

// measure ends a measurement of the round trip when data up to end answers it.
func (c *block) measure(end uint64) {
	m := &c.meter
	if m.at == 0 || end <= m.edge {
		return
	}
	now := c.table.clock()
	took := max(now-m.at, 1)
	m.at = 0
	if m.least == 0 || took < m.least {
		m.least = took
	}
	if m.rtt == 0 || took < m.rtt || now-m.rttAt > rttMemory {
		m.rtt, m.rttAt = took, now
	}
}

// near says that the way is short, whatever waits in it.
func (m *windowMeter) near() bool { return m.least <= shortWay && m.rtt <= nearWay }

// stoppedAt says that the peer has stopped right before an edge that was promised lately. It sets PSH
// where it stops.
func (c *block) stoppedAt(end uint64) bool {
	return slices.ContainsFunc(c.edges[:], func(e uint64) bool { return end <= e && e < end+payloadOf })
}

// growWindow doubles the receive limit when half of it and more is read in a
// round trip, as Linux sizes its receive buffers, or when the peer has stopped and so much lies
// beyond a gap: what is missing stands in the queue of a path, and what the others bring meanwhile has to
// fit, or they wait for it (RFC 8684, Section 3.3.1). So it is when the peer has stopped, nearly
// all is read, and half of the limit is read in lateTrips round trips: a busy machine makes them so much
// longer than the shortest one, and the window would stay what is read in that. On a way too short to need a
// large window, which would only leave the processor's caches, the peer must
// also have stopped because the next promise was still on its way.
func (c *block) growWindow(stopped bool) {
	half := uint64(c.limit / 2)
	read, gap, short := c.meter.product >= half, stopped && c.beyond >= half, c.meter.rtt <= shortWay
	late := stopped && uint64(c.unread) < half/2 && c.meter.product >= half/lateTrips
	switch {
	case c.limit >= maxWindow || c.closed || c.read() < c.grewAt+half:
		return
	case short && !(read && stopped), !read && !gap && !late:
		return
	case c.meter.near() && c.table.grown.Load()+int64(c.limit) > nearMost:
		return
	}
	if c.table.grow(c.limit) {
		c.limit *= 2
		c.grewAt, c.beyond = c.read(), 0
	}
}

// growSend doubles the send buffer when it ran dry while a writer waited.
func (c *block) growSend() {
	if c.sendLimit < sendMax && c.table.grow(c.sendLimit) {
		c.sendLimit *= 2
	}
}

// left counts a stream out that leaves its table, and returns what ungrow does.
func (c *block) left() int {
	c.heard()
	return c.ungrow()
}

// ungrow takes both limits back to the start and returns how much that gives
// back to the table. What was promised stays promised.
func (c *block) ungrow() int {
	n := c.limit - initialWindow + c.sendLimit - sendMin
	c.limit, c.sendLimit = initialWindow, sendMin
	return n
}
