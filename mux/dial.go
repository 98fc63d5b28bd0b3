package mux

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

const (
	dialQuick        = 1200 * time.Millisecond
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	// stagger is the head start of one server address over the next (RFC 8305,
	// Section 5).
	stagger = 250 * time.Millisecond
)

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
	conn := k.secure(c.tls.Load(), true)
	tcp.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := conn.HandshakeContext(ctx); err != nil {
		tcp.Close()
		return nil, judged(fmt.Errorf("TLS with %s: %w", addr, explainTLS(err)), false)
	}
	f, err := c.join(ctx, p, conn, k)
	if err != nil {
		tcp.Close()
		return nil, judged(fmt.Errorf("session with %s: %w", addr, err), true)
	}
	tcp.SetDeadline(time.Time{})
	if err := c.session.attach(f); err != nil {
		return nil, judged(err, true)
	}
	c.mu.Lock()
	p.good, p.bad = addr, ""
	close(p.up)
	p.up = make(chan struct{})
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
