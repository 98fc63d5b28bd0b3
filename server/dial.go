package server

import (
	"container/list"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/errno"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

const (
	// dialStagger is the Connection Attempt Delay of RFC 8305, Section 5.
	dialStagger = 250 * time.Millisecond
	// dialTimeout is the time for all attempts: applications give up on their
	// proxy after 30 s or more, and should see the reason before.
	dialTimeout = 20 * time.Second
	// crowdedTimeout is the time of one attempt while other addresses wait.
	crowdedTimeout = 4 * time.Second
	// failedPause is the least time between an attempt that failed at once and the
	// next one: the Minimum Connection Attempt Delay of RFC 8305, Section 5.
	failedPause = 10 * time.Millisecond
	// maxRunning is how many attempts one CONNECT makes at once, and maxAttempts in
	// all: whoever controls a name's addresses must not make a scanner of the exit.
	maxRunning, maxAttempts = 5, 20
	// shunTime is how long an address that did not answer at a port is tried last there, and
	// maxShunned how many of them are remembered, the newest.
	shunTime   = 5 * time.Minute
	maxShunned = 4096
)

// A budget is what the attempts of one CONNECT may cost beside the first. Its zero value has no
// bound.
type budget struct {
	admits func(netip.Addr) bool         // whether a further address may be tried
	socket func() (give func(), ok bool) // takes a socket for an attempt beside others
	manner                               // of each attempt
}

// A manner is how an attempt is made.
type manner struct {
	waits   func() // told when it has nothing to do but wait; may be nil
	buffers int    // what the kernel's will be, bytes; 0 = its own
}

// take takes what the next attempt needs. ok is false if that is not to be had now, and never
// that the address may not be tried.
func (b *budget) take(addr netip.Addr, begun, running int) (give func(), ok, never bool) {
	give = func() {}
	if running > 0 && b.socket != nil {
		if give, ok = b.socket(); !ok {
			return nil, false, false
		}
	}
	if begun > 0 && b.admits != nil && !b.admits(addr) {
		give()
		return nil, false, true
	}
	return give, true, false
}

// A dialer connects CONNECT streams to their destinations.
type dialer struct {
	egress *egress
	to     func(ctx context.Context, to netip.AddrPort, how manner) (tcpio.Socket, error) // dial, but in tests

	mu      sync.Mutex                       // guards the rest
	shunned map[netip.AddrPort]*list.Element // of shuns
	shuns   list.List                        // of shun, the oldest first
}

// A shun is an address that did not answer at a port.
type shun struct {
	to    netip.AddrPort
	until time.Time // that counts
}

func newDialer(out *egress) *dialer {
	d := &dialer{egress: out}
	d.to = d.dial
	return d
}

// connect connects to the first of the addresses that answers (Happy Eyeballs, RFC
// 8305): families in turn, IPv6 first, a new attempt every 250 ms or as soon as
// one has failed, a few at once and some 20 in all, whatever a name has. Addresses
// that lately did not answer come last; more brings further ones, or is nil. The error
// is that of the attempt that came closest.
func (d *dialer) connect(ctx context.Context, addrs []netip.Addr, more <-chan []netip.Addr, port uint16, cost budget) (tcpio.Socket, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel() // also ends the attempts that lost
	if len(addrs) == 1 && more == nil {
		return d.only(ctx, netip.AddrPortFrom(addrs[0], port), cost.manner)
	}
	type result struct {
		addr netip.Addr
		conn tcpio.Socket
		err  error
	}
	results, over := make(chan result), ctx.Done()
	// Each attempt's goroutine ends with ctx at the latest, and closes a
	// connection that came too late.
	attempt := func(addr netip.Addr, limit time.Duration, give func()) {
		defer give()
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		conn, err := d.to(ctx, netip.AddrPortFrom(addr, port), cost.manner)
		select {
		case results <- result{addr, conn, err}:
		case <-over:
			if conn != nil {
				conn.Close()
			}
		}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	waiting, running, begun := d.order(addrs, port), 0, 0
	var best error
	for len(waiting) > 0 && begun < maxAttempts || running > 0 || more != nil {
		var tick <-chan time.Time
		if len(waiting) > 0 && running < maxRunning && begun < maxAttempts {
			tick = timer.C
		}
		select {
		case <-tick:
			give, ok, never := cost.take(waiting[0], begun, running)
			if !ok {
				if timer.Reset(dialStagger); never {
					waiting = waiting[1:]
					timer.Reset(0)
				}
				continue
			}
			limit := dialTimeout
			if len(waiting) > 1 {
				limit = crowdedTimeout // others wait for its place
			}
			go attempt(waiting[0], limit, give)
			waiting, running, begun = waiting[1:], running+1, begun+1
			timer.Reset(dialStagger)
		case r := <-results:
			running--
			if r.err == nil {
				d.answered(netip.AddrPortFrom(r.addr, port))
				return r.conn, nil
			}
			if rank(r.err) == rankHost && ctx.Err() == nil {
				d.silent(netip.AddrPortFrom(r.addr, port))
			}
			best = closer(best, r.err)
			timer.Reset(failedPause)
		case further := <-more:
			more = nil
			waiting = d.order(slices.Concat(waiting, further), port)
		case <-ctx.Done():
			return nil, closer(best, &dialError{"timed out", ctx.Err()})
		}
	}
	if best == nil {
		best = &dialError{"no address", nil}
	}
	return nil, best
}

// only is connect where there is one address, which most CONNECTs have: it needs no other
// goroutine and no timer.
func (d *dialer) only(ctx context.Context, to netip.AddrPort, how manner) (tcpio.Socket, error) {
	conn, err := d.to(ctx, to, how)
	switch {
	case err == nil:
		d.answered(to)
		return conn, nil
	case ctx.Err() != nil:
		return nil, closer(err, &dialError{"timed out", ctx.Err()})
	case rank(err) == rankHost:
		d.silent(to)
	}
	return nil, err
}

// order is the one to try the addresses of a destination in.
func (d *dialer) order(addrs []netip.Addr, port uint16) []netip.Addr {
	out := interleave(addrs)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.shunned) > 0 {
		now := time.Now()
		late := func(a netip.Addr) int {
			if e := d.shunned[netip.AddrPortFrom(a, port)]; e != nil && now.Before(e.Value.(shun).until) {
				return 1
			}
			return 0
		}
		slices.SortStableFunc(out, func(a, b netip.Addr) int { return late(a) - late(b) })
	}
	return out
}

// silent notes an address that did not answer at a port: at another one it may, and a port that a
// firewall drops is easily found by whoever wants the address tried last for others.
func (d *dialer) silent(to netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shunned == nil {
		d.shunned = make(map[netip.AddrPort]*list.Element)
	}
	d.forgive(to)
	if len(d.shunned) >= maxShunned {
		d.forgive(d.shuns.Front().Value.(shun).to)
	}
	d.shunned[to] = d.shuns.PushBack(shun{to, time.Now().Add(shunTime)})
}

// answered notes that an address answers.
func (d *dialer) answered(to netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgive(to)
}

// forgive forgets that an address did not answer. The caller holds mu.
func (d *dialer) forgive(to netip.AddrPort) {
	if e := d.shunned[to]; e != nil {
		d.shuns.Remove(e)
		delete(d.shunned, to)
	}
}

// dial connects to one address. Keep-alive finds dead peers.
func (d *dialer) dial(ctx context.Context, to netip.AddrPort, how manner) (tcpio.Socket, error) {
	local, err := d.egress.local(to.Addr().Is4())
	if err != nil {
		return nil, &dialError{wordNetwork, err}
	}
	near := to.Addr().IsLoopback()
	dial := tcpio.Dialer{Local: local, Alive: !near} // who ends on this machine says so
	dial.Prepare = func(raw syscall.RawConn) {
		tcpio.Inline(raw)
		limitSegments(raw, how.buffers)
		if near {
			carrier.Untimed(raw)
		}
		if how.waits != nil {
			how.waits()
		}
	}
	conn, err := dial.Dial(ctx, to)
	if err != nil {
		return nil, classed(err)
	}
	return conn, nil
}

// interleave puts the addresses in the order of RFC 8305, Section 4: the
// families in turn, beginning with IPv6, each in the resolver's order.
func interleave(addrs []netip.Addr) []netip.Addr {
	var v4, v6, out []netip.Addr
	for _, a := range addrs {
		switch {
		case slices.Contains(v4, a) || slices.Contains(v6, a):
		case a.Is4():
			v4 = append(v4, a)
		default:
			v6 = append(v6, a)
		}
	}
	for i := range max(len(v4), len(v6)) {
		if i < len(v6) {
			out = append(out, v6[i])
		}
		if i < len(v4) {
			out = append(out, v4[i])
		}
	}
	return out
}

// A dialError begins with the word by which armon/go-socks5 chooses the reply:
// "refused" gives 05, "network is unreachable" 03, everything else 04. The cause
// is not part of its text, for that may hold the same words by chance.
type dialError struct {
	word  string
	cause error
}

func (e *dialError) Error() string { return e.word }
func (e *dialError) Unwrap() error { return e.cause }

// The words that matter to armon.
const (
	wordRefused = "connection refused"
	wordNetwork = "network is unreachable"
)

// classed finds the word for a dial error, on every system.
func classed(err error) error {
	text := err.Error()
	switch {
	case errors.Is(err, errno.Refused) || strings.Contains(text, "refused"):
		return &dialError{wordRefused, err}
	case errors.Is(err, errno.NetUnreach) || strings.Contains(text, "unreachable network"):
		return &dialError{wordNetwork, err}
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, errno.TimedOut):
		return &dialError{"timed out", err}
	}
	return &dialError{"host unreachable", err}
}

// The ranks of errors: a refusal came from the host itself, an unreachable
// network from ourselves.
const (
	rankNone = iota
	rankNetwork
	rankHost
	rankRefused
)

// closer returns the error of the attempt that came closer to the destination.
func closer(a, b error) error {
	if rank(b) > rank(a) {
		return b
	}
	return a
}

func rank(err error) int {
	if err == nil {
		return rankNone
	}
	switch err.Error() {
	case wordRefused:
		return rankRefused
	case wordNetwork:
		return rankNetwork
	}
	return rankHost
}
