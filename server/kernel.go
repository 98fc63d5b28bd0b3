package server

import (
	"context"
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// What the kernel holds for a client's connections is memory of the machine too, and of
// no limit of ours: an application that reads nothing fills a receive buffer of
// megabytes for each. So it is asked for, charged to the session, and bounded: buffers
// of a client that has many connections are set to its share, and of those that hold
// much and do not move to the least when together they hold more.
const (
	// kernelMost is what the kernel may hold for one client in each direction, about,
	// where limits.memory allows that much, and kernelPart which part of the client's
	// share it is.
	kernelMost = 64 << 20
	kernelPart = 8
	// kernelAlone is how much a connection holds that is left to the kernel's own
	// tuning, about; kernelFree of a client's may be at most.
	kernelAlone = 4 << 20
	kernelFree  = 16
	// kernelLeast is enough for 10 Mbit/s over 50 ms.
	kernelLeast = 64 << 10

	// bufferSegments is how many segments a buffer has to have room for, of which the kernel
	// takes half for its own books; segmentMost is the longest that it can be told
	// (TCP_MAXSEG), segmentLongest is longer than there are any.
	bufferSegments = 8
	segmentMost    = 32767
	segmentLongest = 64 << 10

	// exitMemory is what a CONNECT holds beside, or a stream that waits at a published port:
	// three goroutines, a buffered reader, a socket. mappingMemory is a mapping's: a socket.
	exitMemory    = 24 << 10
	mappingMemory = 4 << 10

	// kernelEvery is how often the kernel is asked about each connection, and kernelPortion about
	// how many at once: that takes some 50 us.
	kernelEvery   = time.Second
	kernelPortion = 64
)

// kernelShare is what the kernel may hold for one client in each direction, of a
// process that may hold so much.
func kernelShare(memory int64) int64 {
	return min(memory/4/kernelPart, kernelMost)
}

// kernelBuffer is the size of each buffer of the newest of n connections of a client
// with that share; 0 leaves it to the kernel. The sum over all n grows with its
// logarithm only: ten have one share and a half, a thousand four.
func kernelBuffer(share, n int) int {
	if n <= min(kernelFree, share/kernelAlone) {
		return 0
	}
	return max(share/2/n, kernelLeast)
}

// buffers is the size of each buffer of the client's newest connection, 0 for the kernel's own.
func (t *exits) buffers(c *client) int {
	return kernelBuffer(int(t.share.Load()), int(c.streams.used.Load()))
}

// clamp sets the buffers of a connection of the client.
func (t *exits) clamp(c *client, conn tcpio.Socket) {
	if n := t.buffers(c); n > 0 {
		setBuffers(conn, n)
	}
}

// limitSegments keeps the segments of a connection that is not made yet to a part of its
// buffers. One of this machine has segments of 64 KiB: a buffer of that holds one, and whoever
// sends it waits for its acknowledgement, which the other end delays for a fifth of a second,
// for it has not come to two.
func limitSegments(raw syscall.RawConn, buffers int) {
	if n := buffers / bufferSegments; n > 0 && n < segmentLongest {
		setSegment(raw, min(n, segmentMost))
	}
}

func setBuffers(c tcpio.Socket, n int) {
	// The kernel doubles what it is told (socket(7)); it may refuse, and then its own
	// bounds hold.
	_ = c.SetReadBuffer(n / 2)
	_ = c.SetWriteBuffer(n / 2)
}

// settle notes what the kernel holds for a CONNECT. t.mu is held.
func (t *exits) settle(e *exit, n int64) {
	d := n - e.kernel
	e.kernel = n
	e.client.kernel.Add(d)
	e.peer.beside.Add(d)
}

// charge asks the kernel what it holds for the CONNECTs that stand below a place, a portion of
// them, and returns the place of the last of these. Connections of a client whose share is
// exceeded, which hold much and did so the last time, get the least buffers.
func (t *exits) charge(below int) int {
	var some [kernelPortion]*exit
	var held [kernelPortion]int64
	t.mu.Lock()
	below = min(below, len(t.all))
	n := copy(some[:], t.all[max(below-kernelPortion, 0):below])
	t.mu.Unlock()
	for i, e := range some[:n] {
		if c := e.conn(); c != nil {
			held[i] = t.holds(c)
		}
	}
	stuck := some[:0]
	t.mu.Lock()
	for i, e := range some[:n] {
		if e.place < 0 {
			continue // it has ended meanwhile
		}
		was := e.kernel
		t.settle(e, held[i])
		if min(was, held[i]) > 2*kernelLeast && e.client.kernel.Load() > t.share.Load() {
			stuck = append(stuck, e)
		}
	}
	t.mu.Unlock()
	for _, e := range stuck {
		setBuffers(e.conn(), kernelLeast)
	}
	return below - n
}

// countMemory asks the kernel about all CONNECTs every kernelEvery, in portions over that time, and
// tells the present sessions what they hold beside what goes through them, until ctx ends.
func (t *exits) countMemory(ctx context.Context, present func() []*peer) {
	tick := time.NewTicker(kernelEvery)
	defer tick.Stop()
	for {
		t.mu.Lock()
		left := len(t.all)
		t.mu.Unlock()
		portions := max((left+kernelPortion-1)/kernelPortion, 1)
		tick.Reset(kernelEvery / time.Duration(portions))
		for range portions {
			select {
			case <-tick.C:
				left = t.charge(left)
			case <-ctx.Done():
				return
			}
		}
		for _, p := range present() {
			p.session.Beside(p.memory())
		}
	}
}
