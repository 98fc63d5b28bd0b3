package mux

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/mux/capture"
	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/hands"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/stream"
)

// A subflow is one connection of a session, a carrier after its MPTCP handshake. What is
// known of it and what it is to carry is the engine's. Its reader goroutine is started by
// Session.attach and ends with the connection; so does its writer goroutine, which only
// waits for room in the kernel when somebody could not write all.
type subflow struct {
	// Set once.
	s             *Session
	core          *engine.Subflow // for Session.enter
	slot          int             // since attach
	path          *engine.Path
	carrier       carrier.Carrier
	most          int // bytes that the carrier is given at once
	local, remote netip.AddrPort
	peer          [32]byte // client: the key that the server proved here,
	mtu           int      // and of how many bytes its packets are at most; 0 = any
	capture       *capture.Subflow
	joins         bool // guarded.joining counts it until attach
	keys          sessionKeys
	kick          chan struct{} // 1 slot: wake the writer goroutine
	dead          chan struct{} // closed at the end
	replace       chan struct{} // closed when another is wanted in its place
	replaceOnce   sync.Once
	closeOnce     sync.Once

	asking sync.Mutex // held while the carrier is asked and the engine told, before the session's lock

	// Owned by the write token.
	batch  []engine.Outgoing
	ssn    uint32
	txDSN  mptcp.Half
	txAck  mptcp.Half
	summed []byte // scratch of sum

	// Owned by the reader.
	rxSSN  uint32
	rxDSN  mptcp.Half
	rxAck  mptcp.Half
	rxPkts []received
	turn   *hands.Hand // its client's, for what it is at
	rxNews news
	rooms  rooms
	views  [][]byte
	inbox  *stream.Inbox
	option mptcp.Option

	scratch  atomic.Int64 // bytes of rxPkts and views
	lastRecv atomic.Int64
	rxOctets atomic.Uint64
	overhead atomic.Uint64 // see overheadOf
	nearest  atomic.Int64  // the least round trip that the carrier knows of, ns; 0 = none
}

// newSubflow prepares one that has joined with those keys.
func newSubflow(s *Session, p *engine.Path, k carrier.Carrier, keys sessionKeys) *subflow {
	f := &subflow{
		s: s, path: p, carrier: k, most: k.LargestFrame(), keys: keys,
		local: carrier.AddrPort(k.LocalAddr()), remote: carrier.AddrPort(k.RemoteAddr()),
		kick: make(chan struct{}, 1), dead: make(chan struct{}), replace: make(chan struct{}),
		ssn: 1, rxSSN: 1, inbox: s.streams.Inbox(),
	}
	s.enter(func(_ *engine.Engine, now int64) {
		f.core = engine.NewSubflow(f, p, keys.epoch, now)
		f.lastRecv.Store(now)
	})
	return f
}

// run reads until the connection ends. It is the subflow's reader goroutine
// and starts and outlives the writer goroutine.
func (f *subflow) run() {
	var wg sync.WaitGroup
	wg.Go(f.drainLoop)
	err := f.readLoop()
	turn := f.s.hands.Take()
	f.s.detach(f, err)
	turn.Give()
	wg.Wait()
}

// close ends the connection; the reader then detaches the subflow.
func (f *subflow) close() {
	f.closeOnce.Do(func() {
		close(f.dead)
		f.carrier.Close()
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
		err := f.carrier.Drain()
		f.s.drained(f, err)
		if err != nil {
			f.close()
			return
		}
	}
}

// wantReplacement tells the dialler, once.
func (f *subflow) wantReplacement() {
	f.replaceOnce.Do(func() { close(f.replace) })
}

// report asks the carrier what it knows, all of it or only what is outstanding, and
// tells the engine, each report in its turn.
func (f *subflow) report(full bool) {
	f.asking.Lock()
	defer f.asking.Unlock()
	k := f.carrier.Report(full)
	if k.Known {
		f.overhead.Store(f.overheadOf(&k))
		f.nearest.Store(k.Info.MinRTT)
		f.s.monitor.alarm.Kernel() // for its time is the kernel's
	}
	r := engine.Report{Full: full, Written: k.Sent, Outstanding: k.Outstanding, Known: k.Known, Partial: k.Partial, Info: engine.Info(k.Info)}
	f.s.enter(func(e *engine.Engine, now int64) { e.Learn(f.core, now, &r) })
}

// tune sets a connection as the engine wants it, as best effort.
func (f *subflow) tune(t *engine.Tuning) {
	k := [...]carrier.Knob{engine.TuneLowat: carrier.Lowat, engine.TunePace: carrier.Pace, engine.TuneCongestion: carrier.Congestion}[t.What]
	f.carrier.Tune(k, carrier.Setting{Bytes: t.Bytes, Rate: t.Rate, Name: t.Name})
}

// wear is how many bytes the more used one of its two TLS keys has protected.
func (f *subflow) wear() uint64 {
	return max(f.carrier.Carried())
}

// abandon ends a subflow that has been replaced, and says whether it is stalled. Then it is
// reset, and if it is throttled: its FIN would wait behind what TCP sends again every few seconds,
// or behind what stands in its queue.
func (f *subflow) abandon() (stale bool) {
	slow := false
	f.s.enter(func(*engine.Engine, int64) { stale, slow = f.core.State().Stale(), f.core.Throttled() })
	if stale || slow {
		f.carrier.Abort()
	}
	f.close()
	return stale
}

// retire sends MP_TCPRST on a subflow and ends it.
func (f *subflow) retire(why mptcp.Reason) {
	f.queue((&mptcp.Reset{Reason: why}).Append(nil))
	f.s.pump()
	time.AfterFunc(closeLinger, f.close)
}

// octets is what a subflow has carried, with all of TLS: copies that came twice are on
// the bill too, as are headers and what TCP sent again.
func (f *subflow) octets() uint64 {
	sent, received := f.carrier.Carried()
	return sent + received + f.overhead.Load()
}

// overheadOf is what a connection has carried beside its bytes: of each segment the headers
// of IP and of TCP with timestamps (RFC 7323, Section 3.2), and what went again.
func (f *subflow) overheadOf(r *carrier.Report) uint64 {
	head := uint64(20 + 32)
	if f.remote.Addr().Is6() {
		head += 20
	}
	return r.Packets*head + r.Again
}
