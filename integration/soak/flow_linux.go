package main

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/integration/netlab"
)

// A leg is one direction of a flow, seen from both of its ends.
type leg struct {
	mu      sync.Mutex // guards the rest
	sent    []time.Time
	came    []bool
	missing int
	altered int
	doubled int
}

// send takes the next number.
func (l *leg) send() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent, l.came = append(l.sent, time.Now()), append(l.came, false)
	l.missing++
	return uint32(len(l.sent) - 1)
}

// take notes an arrival and says when the datagram was sent; fresh is false for one that
// came before, or never was.
func (l *leg) take(seq uint32, whole bool) (sent time.Time, fresh bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !whole || int(seq) >= len(l.sent):
		l.altered++
		return sent, false
	case l.came[seq]:
		l.doubled++
		return sent, false
	}
	l.came[seq] = true
	l.missing--
	return l.sent[seq], true
}

func (l *leg) complete() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.missing == 0
}

// A flow is the traffic of one association with the world.
type flow struct {
	id       uint32
	kind     *flowKind
	begun    time.Time
	up, down leg
	lastBack atomic.Int64 // when the latest datagram that was echoed had been sent, Unix ns

	mu   sync.Mutex // guards peer and conn
	peer netip.AddrPort
	conn *net.UDPConn // of the world, where peer was heard
}

// A flowKind is what programs do with datagrams.
type flowKind struct {
	name  string
	size  int
	every time.Duration // between bursts
	burst int
	to    string
	echo  bool
	push  time.Duration // how often the world sends by itself, 1,200 bytes; zero is never
}

// hello is how often a program that is pushed to says that it is there.
const hello = 500 * time.Millisecond

// far is the far end of all flows and streams.
type far struct {
	report    *report
	outages   *outages
	patience  time.Duration // of streams
	conns     []*net.UDPConn
	listeners []net.Listener
	wg        sync.WaitGroup

	mu    sync.Mutex // guards flows
	flows map[uint32]*flow
}

func (f *far) add(w *flow) {
	f.mu.Lock()
	f.flows[w.id] = w
	f.mu.Unlock()
}

func (f *far) remove(w *flow) {
	f.mu.Lock()
	delete(f.flows, w.id)
	f.mu.Unlock()
}

func (f *far) find(id uint32) *flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flows[id]
}

// serve receives and echoes until the socket is closed.
func (f *far) serve(c *net.UDPConn) {
	b := make([]byte, 65536)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		id, seq, whole := datagramOf(b[:n])
		w := f.find(id)
		if w == nil {
			if !whole {
				f.report.fault("%d bytes that nobody sent came to the world from %v", n, from)
			}
			continue // of a flow that is over
		}
		if n != w.kind.size {
			whole = false
		}
		if _, fresh := w.up.take(seq, whole); !fresh {
			continue
		}
		w.mu.Lock()
		w.peer, w.conn = from, c
		w.mu.Unlock()
		if w.kind.echo {
			w.reply(seq, b[:n])
		}
	}
}

// reply sends the datagram back under a number of the other direction's own.
func (w *flow) reply(seq uint32, b []byte) {
	w.down.mu.Lock()
	for len(w.down.sent) <= int(seq) { // numbers of the two directions are the same
		w.down.sent, w.down.came = append(w.down.sent, time.Time{}), append(w.down.came, true)
	}
	w.down.sent[seq], w.down.came[seq] = time.Now(), false
	w.down.missing++
	w.down.mu.Unlock()
	w.toPeer(b)
}

// toPeer sends to where the flow was last heard from.
func (w *flow) toPeer(b []byte) bool {
	w.mu.Lock()
	peer, conn := w.peer, w.conn
	w.mu.Unlock()
	if conn == nil {
		return false
	}
	_, _ = conn.WriteToUDPAddrPort(b, peer) // what the kernel refuses is lost, and counted so
	return true
}

// listen opens everything, in a namespace.
func (f *far) listen(n *netlab.Namespace) error {
	for _, at := range []string{world4, world6} {
		c, err := n.ListenUDP(netip.MustParseAddrPort(at))
		if err != nil {
			return err
		}
		_ = c.SetReadBuffer(4 << 20)
		f.conns = append(f.conns, c)
		f.wg.Go(func() { f.serve(c) }) // ends with the socket
	}
	for _, at := range []netip.Addr{netlab.World, netlab.World6} {
		l, err := n.Listen(netip.MustParseAddrPort(net.JoinHostPort(at.String(), streamPort)))
		if err != nil {
			return err
		}
		f.listeners = append(f.listeners, l)
		f.wg.Go(func() { f.serveStreams(l) }) // ends with the listener
	}
	return nil
}

// close ends the datagrams at once; streams have ended, or end by their deadlines.
func (f *far) close() {
	for _, l := range f.listeners {
		l.Close()
	}
	for _, c := range f.conns {
		c.Close()
	}
	f.wg.Wait()
}
