package mux

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// maxSubflows is how many subflows a session can have: they are named by the
// bits of a word.
const maxSubflows = 64

// A subflow is one TCP connection of a session, inside TLS, after its MPTCP
// handshake. Its reader goroutine is started by Session.attach and ends with
// the connection; so does its writer goroutine, which only waits for room in
// the kernel when somebody could not write all.
type subflow struct {
	// Set once.
	s             *Session
	slot          int // bit in the session's words
	path          *path
	conn          *tls.Conn
	carrier       *carrier
	local, remote netip.AddrPort
	capture       *subflowCapture
	born          int64
	epoch         uint64        // of the session's keys
	kick          chan struct{} // 1 slot: wake the writer goroutine
	dead          chan struct{} // closed at the end
	replace       chan struct{} // closed when another is wanted in its place
	replaceOnce   sync.Once
	closeOnce     sync.Once

	// Guarded by the session's lock.
	writing     bool // somebody holds the write token
	blocked     bool // the kernel is full: the writer goroutine holds the token
	closed      bool
	backup      bool // as the peer or the configuration last said
	bulk        bool
	stale       bool
	lost        bool     // stale for so long that another is to take its place
	pending     []uint64 // segment numbers to write next
	pendingSize int
	control     []byte // whole options to write next
	sentRing    ring   // what the kernel has and the peer's kernel may not
	tx          stats  // TCP_INFO and what follows from it
	sent        uint64 // mapped bytes
	progress    int64  // when the peer's kernel last acknowledged something new
	cc          string // congestion control that was asked for,
	ccAt        int64  // and when
	proof       int64  // when there was a sign of life last
	acked       uint64 // TCP bytes it acknowledged
	produced    uint64 // TCP bytes made
	blockedAt   int64  // since when blocked, or counted so
	counted     uint64 // of these, what the path's rate has counted
	bulkAt      int64  // when it last got bulk
	probeSent   int64  // time of the probe that waits for its answer, 0 = none
	probeEnd    uint64 // TCP bytes before it
	mute        bool   // the peer itself has to answer, before it counts as alive
	lastSend    int64
	staleSince  int64
	measured    int64 // when TCP_INFO was read
	refreshed   int64 // when outstanding was read

	// Owned by the write token.
	batch []outgoing
	ssn   uint32

	// Owned by the reader.
	rxSSN  uint32
	rxPkts []received
	views  [][]byte
	option mptcp.Option

	lastRecv atomic.Int64
	rxOctets atomic.Uint64
}

// stats is what is known of a subflow's TCP connection.
type stats struct {
	srtt, rttvar, minRTT int64 // ns
	cwnd                 int   // bytes
	rate                 float64
	outstanding          int // bytes the peer's kernel has not acknowledged
	retrans, segs        uint64
	lowat                int  // bytes of unsent data that the kernel may hold
	valid                bool // srtt is known
	kernel               bool // the kernel tells
}

// A sentMark says up to which TCP byte a segment is in the connection.
type sentMark struct {
	sn, end uint64
	at      int64
}

// A ring holds the sentMarks of what has no Data ACK yet; those before una are
// acknowledged by the peer's kernel, those behind it may be stalled.
type ring struct {
	marks           []sentMark // power of two long
	head, una, tail uint64
}

func (r *ring) at(i uint64) *sentMark { return &r.marks[i&uint64(len(r.marks)-1)] }

func (r *ring) push(m sentMark) {
	if r.tail-r.head == uint64(len(r.marks)) {
		old := *r
		r.marks = make([]sentMark, max(64, 2*len(old.marks)))
		for i := old.head; i < old.tail; i++ {
			*r.at(i) = *old.at(i)
		}
	}
	*r.at(r.tail) = m
	r.tail++
}

// newSubflow prepares one that has joined with the keys of that epoch.
func newSubflow(s *Session, p *path, conn *tls.Conn, k *carrier, epoch uint64) *subflow {
	f := &subflow{
		s: s, path: p, conn: conn, carrier: k,
		local: addrPort(k.LocalAddr()), remote: addrPort(k.RemoteAddr()),
		born: s.now(), kick: make(chan struct{}, 1), dead: make(chan struct{}), replace: make(chan struct{}),
		ssn: 1, rxSSN: 1, epoch: epoch,
	}
	f.progress, f.proof, f.lastSend = f.born, f.born, f.born
	f.lastRecv.Store(f.born)
	s.mu.Lock()
	f.backup = p.cfg.Backup
	s.mu.Unlock()
	f.tx.lowat = minLowat
	return f
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
	}
	return netip.AddrPort{}
}

// run reads until the connection ends. It is the subflow's reader goroutine
// and starts and outlives the writer goroutine.
func (f *subflow) run() {
	var wg sync.WaitGroup
	wg.Go(f.drainLoop)
	err := f.readLoop()
	f.s.detach(f, err)
	wg.Wait()
}

// close ends the connection; the reader then detaches the subflow.
func (f *subflow) close() {
	f.closeOnce.Do(func() {
		close(f.dead)
		f.carrier.Conn.Close()
	})
}

// drainLoop waits for room in the kernel whenever a writer left something.
func (f *subflow) drainLoop() {
	for {
		select {
		case <-f.kick:
		case <-f.dead:
			return
		}
		err := f.carrier.drain()
		f.s.drained(f, err)
		if err != nil {
			f.close()
			return
		}
	}
}

// age returns how long the oldest bytes that the peer's kernel has not
// acknowledged have been out.
func (f *subflow) age(now int64) int64 {
	if f.sentRing.una == f.sentRing.tail {
		return 0
	}
	return now - f.sentRing.at(f.sentRing.una).at
}

// arrived marks a segment that some subflow has delivered to the peer's
// kernel. Slot 63 is never given to a subflow.
const arrived = 1 << (maxSubflows - 1)

// acknowledge notes that the peer's kernel has the first acked TCP bytes, and
// drops the marks of what has a Data ACK.
func (f *subflow) acknowledge(now int64, acked uint64) {
	if acked > f.acked {
		f.acked = acked
		f.progress, f.proof = now, now
	}
	r, q := &f.sentRing, &f.s.inflight
	for r.una < r.tail && r.at(r.una).end <= f.acked {
		if sg := q.Live(r.at(r.una).sn); sg != nil {
			sg.On |= arrived
		}
		r.una++
	}
	for r.head < r.tail && q.Live(r.at(r.head).sn) == nil {
		r.head++
	}
	r.una = max(r.una, r.head) // no sign of life: another subflow may have brought it
	if !f.tx.kernel {
		f.tx.outstanding = int(f.produced - min(f.acked, f.produced))
	}
}
