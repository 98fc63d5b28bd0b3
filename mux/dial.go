package mux

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// A slot is one place for a subflow of a path. Its goroutine dials, joins,
// waits for the end, and begins again; when its subflow is to be replaced it
// makes the new one before it breaks the old one.

const (
	dialQuick        = 1200 * time.Millisecond
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	// stagger is the head start of one server address over the next (RFC 8305,
	// Section 5).
	stagger = 250 * time.Millisecond
	// backoffMin and backoffMax bound the pause between attempts. A path that
	// comes back is used within two seconds.
	backoffMin = 100 * time.Millisecond
	backoffMax = 800 * time.Millisecond
	// retireAge and retireBytes end a subflow long before its TLS keys are
	// worn out (2^24.5 records of AES-GCM); crypto/tls never updates them.
	retireAge   = 24 * time.Hour
	retireBytes = 256 << 30
)

func (c *Client) slot(ctx context.Context, p *clientPath) {
	pause, tries := backoffMin, 0
	var old *subflow
	for ctx.Err() == nil {
		// A lost SYN goes again after 1, 3, 7 s: short attempts find a path
		// that comes back sooner; every fourth is patient.
		timeout := dialQuick
		if tries%4 == 3 {
			timeout = dialTimeout
		}
		tries++
		f, err := c.connect(ctx, p, timeout)
		if old != nil && (err == nil || isDead(old)) {
			old.abandon()
			old = nil
		}
		if err != nil {
			c.complain(ctx, p, err)
			wait := pause/2 + rand.N(pause)/2
			pause = min(pause*2, backoffMax)
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
			continue
		}
		pause, tries = backoffMin, 0
		retire := time.NewTimer(retireAge + rand.N(retireAge/8))
		select {
		case <-f.dead:
		case <-f.replace:
			old = f
		case <-retire.C:
			old = f
		case <-ctx.Done():
			// Session.Close or remove ends it, after it has told the peer.
			select {
			case <-f.dead:
			case <-time.After(2 * closeLinger):
				f.close()
			}
		}
		retire.Stop()
	}
}

// abandon ends a subflow that has been replaced. One that is stalled is reset:
// its FIN would wait behind what TCP sends again every few seconds.
func (f *subflow) abandon() {
	f.s.mu.Lock()
	stale := f.stale
	f.s.mu.Unlock()
	if tcp, ok := f.carrier.Conn.(*net.TCPConn); ok && stale {
		tcp.SetLinger(0)
	}
	f.close()
}

func isDead(f *subflow) bool {
	select {
	case <-f.dead:
		return true
	default:
		return false
	}
}

// complain logs an error once until it changes.
func (c *Client) complain(ctx context.Context, p *clientPath, err error) {
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	said := p.bad == err.Error()
	p.bad = err.Error()
	c.mu.Unlock()
	if !said {
		c.cfg.Log.Warn().Str("path", p.way.Name).Err(err).Msg("cannot reach the server by this path")
	}
}

// connect makes one subflow: TCP, TLS, and the MPTCP handshake inside.
func (c *Client) connect(ctx context.Context, p *clientPath, timeout time.Duration) (*subflow, error) {
	tcp, addr, err := c.dial(ctx, p, timeout)
	if err != nil {
		return nil, err
	}
	tune(tcp)
	stop := context.AfterFunc(ctx, func() { tcp.Close() })
	defer stop()
	k := newCarrier(tcp)
	conn := k.secure(c.tls, true)
	tcp.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := conn.HandshakeContext(ctx); err != nil {
		tcp.Close()
		return nil, fmt.Errorf("TLS with %s: %w", addr, explainTLS(err))
	}
	f, err := c.join(ctx, p, conn, k)
	if err != nil {
		tcp.Close()
		return nil, fmt.Errorf("session with %s: %w", addr, err)
	}
	tcp.SetDeadline(time.Time{})
	if err := c.session.attach(f); err != nil {
		return nil, err
	}
	c.mu.Lock()
	p.good, p.bad = addr, ""
	c.mu.Unlock()
	c.cfg.Log.Debug().Str("path", p.way.Name).Stringer("local", f.local).Stringer("remote", f.remote).Msg("subflow up")
	return f, nil
}

// dial connects to the first server address that answers, from the path's own
// address. Addresses that names bring meanwhile are tried too.
func (c *Client) dial(ctx context.Context, p *clientPath, timeout time.Duration) (net.Conn, string, error) {
	changed := c.names.change()
	addrs, err := c.firstTargets(ctx, p, timeout)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	type result struct {
		conn net.Conn
		addr netip.AddrPort
		err  error
	}
	results, over := make(chan result), make(chan struct{})
	defer close(over) // those that lose the race
	started, pending := 0, 0
	start := func() {
		if started == len(addrs) {
			return
		}
		a := addrs[started]
		started++
		pending++
		c.slots.Go(func() {
			conn, err := p.way.dialer().DialContext(ctx, "tcp", a.String())
			select {
			case results <- result{conn, a, err}:
			case <-over:
				if err == nil {
					conn.Close()
				}
			}
		})
	}
	start()
	next := time.NewTicker(stagger)
	defer next.Stop()
	var failed error
	for asking := true; pending > 0 || asking; {
		select {
		case r := <-results:
			pending--
			if r.err == nil {
				return r.conn, r.addr.String(), nil
			}
			if failed == nil || ctx.Err() == nil {
				failed = r.err
			}
			start()
		case <-next.C:
			if start(); pending == 0 {
				return nil, "", failed // the next attempt knows the names
			}
		case <-changed:
			changed = c.names.change()
		}
		var more []netip.AddrPort
		more, asking, _ = c.targets(p)
		for _, a := range more {
			if !slices.Contains(addrs, a) {
				addrs = append(addrs, a)
			}
		}
		if pending == 0 {
			start()
		}
	}
	return nil, "", failed
}

// dialer binds to the path's interface or address.
func (p *Path) dialer() *net.Dialer {
	d := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	d.SetMultipathTCP(p.KernelMPTCP)
	if p.Local.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: p.Local.AsSlice(), Zone: p.Local.Zone()}
	}
	if name := p.Interface; name != "" {
		d.ControlContext = func(_ context.Context, _, _ string, raw syscall.RawConn) error {
			if err := bindInterface(raw, name); err != nil {
				return fmt.Errorf("bind to interface %s: %w", name, err)
			}
			return nil
		}
	}
	return d
}
