package mux

import (
	"context"
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/mux/dialer"
	"github.com/mpsocks/mpsocks/mux/engine"
	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// Path is a way from the client to the server, as configured.
type Path struct {
	Name        string
	Interface   string     // bind to this interface, or ""
	Local       netip.Addr // bind to this address, or invalid
	Subflows    int        // 0 = auto
	Backup      bool       // only when no other path is up
	Metered     bool       // nothing but keep-alives unless needed or allowed
	KernelMPTCP bool       // kernel MPTCP sockets
	Weight      int        // share of bulk; 0 = by rate
	DailyCap    int64      // bytes in both directions; 0 = none
	MonthlyCap  int64
	BillingDay  int // of the month on which MonthlyCap begins anew; 0 = the first
}

// autoSubflows is how many subflows `auto` gives a path: two for bulk, and
// thin ones enough that small flows rarely meet a stalled one.
const autoSubflows = 6

// autoShare is how many it gives to each of these, which share a session's 63.
func autoShare(paths []Path) int {
	left, auto := engine.MaxSubflows, 0
	for i := range paths {
		if paths[i].Subflows == 0 {
			auto++
		}
		left -= paths[i].Subflows
	}
	return max(1, min(autoSubflows, left/max(1, auto)))
}

// sameWay reports whether the subflows of one path serve the other.
func (p *Path) sameWay(o *Path) bool {
	return p.Name == o.Name && p.Interface == o.Interface && p.Local == o.Local &&
		p.Subflows == o.Subflows && p.KernelMPTCP == o.KernelMPTCP
}

// dialWay is what the path's sockets are bound to.
func (p *Path) dialWay() *dialer.Way {
	return &dialer.Way{Interface: p.Interface, Local: p.Local, KernelMPTCP: p.KernelMPTCP}
}

// dialWay is what the path's sockets are bound to, and marked with.
func (p *clientPath) dialWay() *dialer.Way {
	w := p.way.dialWay()
	w.Mark = p.c.cfg.Mark
	return w
}

// config is what the engine has to know of a path.
func (p *Path) config() engine.PathConfig {
	return engine.PathConfig{Name: p.Name, Backup: p.Backup, Metered: p.Metered, Weight: p.Weight}
}

// A clientPath is a configured path with its slots. What may change is guarded by
// Client.mu; its slots dial and join beside that.
type clientPath struct {
	c       *Client
	path    *engine.Path
	way     Path               // as it was when it was added,
	cfg     Path               // and as it is now
	cancel  context.CancelFunc // ends the slots; nil = there are none
	book    dialer.Book        // how the addresses did
	six     bool               // it has no IPv4; see look
	mtu     int                // packets that get through; 0 = any
	mtuAt   time.Time          // when an attempt showed that
	least   int                // of mtu that was said; 0 = none was
	took    time.Duration      // how long the server's last proof took; 0 = none yet
	bad     string             // the last error of an attempt; "" after one that worked
	badAt   time.Time          // when that was
	moved   bool               // its address has changed, and the server has not been told
	again   chan struct{}      // closed and renewed when attempts are to go on at once
	life    context.Context    // of the slots, which cancel ends
	stays   context.Context    // of attempts: ends when the path leads another way, and is renewed
	leave   context.CancelFunc // ends stays
	said    []string           // errors since a subflow was up, so that each is said once
	counted uint64             // bytes that are in the count of its name
	up      chan struct{}      // closed and renewed when a subflow comes up
	trying  time.Time          // since when the slot that leads dials; zero = it does not
	late    map[lateAt]*late   // handshakes that no attempt has waited for to the end
	froze   []time.Time        // when subflows did, once for those that did together; see freezes
}

// update changes what can change live and tells the peer by MP_PRIO. The caller holds
// Client.mu.
func (p *clientPath) update(n Path) {
	p.cfg = n
	p.c.session.enter(func(*engine.Engine, int64) {
		if !p.path.Configure(n.config()) {
			return
		}
		for _, f := range p.path.Subflows() {
			f.Control((&mptcp.Prio{Backup: p.path.Rests()}).Append(nil))
		}
	})
	p.c.session.pump()
}

// start begins the slots of a path that has none. The caller holds Client.mu.
func (p *clientPath) start() {
	ctx, cancel := context.WithCancel(p.c.ctx)
	p.life, p.cancel = ctx, cancel
	p.stays, p.leave = context.WithCancel(ctx)
	for i := range p.way.Subflows {
		p.c.slots.Go(func() { p.slot(ctx, i == 0) })
	}
}

// depart ends the attempts that are under way: they began where the path was before, from an address that
// it has no more, for one, and would be waited for. The caller holds Client.mu.
func (p *clientPath) depart() {
	if p.cancel == nil {
		return
	}
	lates{p}.forsake()
	p.leave()
	p.stays, p.leave = context.WithCancel(p.life)
}

// stay is until when an attempt that begins now is of use.
func (p *clientPath) stay() context.Context {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	return p.stays
}

// stop ends the slots and subflows of a path and withdraws its address (RFC 8684,
// Section 3.4.2). What they hold is sent again on others. The caller holds Client.mu.
func (p *clientPath) stop() {
	if p.cancel == nil {
		return
	}
	p.cancel()
	p.cancel = nil
	lates{p}.forsake()
	s := p.c.session
	s.enter(func(e *engine.Engine, _ int64) {
		var tell *engine.Subflow
		for _, f := range e.Subflows() {
			if f.Path() != p.path && f.State() != engine.Ended && (tell == nil || tell.State().Stale()) {
				tell = f
			}
		}
		if tell != nil {
			o := mptcp.RemoveAddr{N: 1}
			o.IDs[0] = p.path.AddrID()
			tell.Control(o.Append(nil))
		}
	})
	for _, f := range s.core.connections() {
		if f.path == p.path {
			f.retire(mptcp.ReasonProhibited)
		}
	}
	s.pump()
}
