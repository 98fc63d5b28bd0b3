package mux

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
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
// address.
func (c *Client) dial(ctx context.Context, p *clientPath, timeout time.Duration) (net.Conn, string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addrs, err := c.targets(ctx, p)
	if err != nil {
		return nil, "", err
	}
	type result struct {
		conn net.Conn
		addr netip.AddrPort
		err  error
	}
	results := make(chan result, len(addrs)) // every dialler can leave
	started, pending := 0, 0
	start := func() {
		a := addrs[started]
		started++
		pending++
		go func() {
			conn, err := p.way.dialer().DialContext(ctx, "tcp", a.String())
			results <- result{conn, a, err}
		}()
	}
	start()
	next := time.NewTimer(stagger)
	defer next.Stop()
	var failed error
	for pending > 0 {
		select {
		case r := <-results:
			pending--
			if r.err == nil {
				go func() { // the losers of the race
					for range pending {
						if l := <-results; l.err == nil {
							l.conn.Close()
						}
					}
				}()
				return r.conn, r.addr.String(), nil
			}
			if failed == nil || ctx.Err() == nil {
				failed = r.err
			}
			if started < len(addrs) {
				start()
			}
		case <-next.C:
			if started < len(addrs) {
				start()
				next.Reset(stagger)
			}
		}
	}
	return nil, "", failed
}

// targets lists the addresses to try: the one that worked last, the
// configured ones with their names resolved, the announced ones; only of the
// family that the path is bound to.
func (c *Client) targets(ctx context.Context, p *clientPath) ([]netip.AddrPort, error) {
	c.mu.Lock()
	good, learned := p.good, append([]netip.AddrPort(nil), c.learned...)
	denied := c.denied && c.state == stateEstablished && len(learned) > 0
	c.mu.Unlock()
	var addrs []netip.AddrPort
	add := func(a netip.AddrPort) {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if l := p.way.Local; l.IsValid() && l.Is4() != a.Addr().Is4() {
			return
		}
		for _, b := range addrs {
			if a == b {
				return
			}
		}
		addrs = append(addrs, a)
	}
	if a, err := netip.ParseAddrPort(good); err == nil && !denied {
		add(a)
	}
	var failed error
	for _, name := range c.cfg.Addresses {
		if denied {
			break
		}
		if a, err := netip.ParseAddrPort(name); err == nil {
			add(a)
			continue
		}
		host, port, err := net.SplitHostPort(name)
		if err != nil {
			return nil, err
		}
		n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
		if err != nil {
			return nil, err
		}
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			failed = fmt.Errorf("resolve the server's name: %w", err)
			continue
		}
		for _, ip := range ips {
			add(netip.AddrPortFrom(ip, uint16(n)))
		}
	}
	for _, a := range learned {
		add(a)
	}
	if len(addrs) == 0 && failed == nil {
		failed = fmt.Errorf("no server address of the family of %s", p.way.Local)
	}
	if len(addrs) == 0 {
		return nil, failed
	}
	return addrs, nil
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
