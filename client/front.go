package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mpsocks/mpsocks/conf"
)

// A front is the sockets that applications reach: the SOCKS ports, the forwards, what is
// redirected here, and those who send to published UDP ports.
type front struct {
	client *Client

	mu        sync.Mutex // guards the rest
	listeners []*net.TCPListener
	forwards  []*forward
	redirects []*redirect
	visitors  []*visitors
	start     func(func() error) // starts a goroutine of Run; nil before
	closed    bool
}

// bindings are the sockets of a configuration: those that the client has already and
// those that are new.
type bindings struct {
	listeners, newListeners []*net.TCPListener
	forwards, newForwards   []*forward
	targets                 []*target // of each of forwards
	redirects, newRedirects []*redirect
}

func (b bindings) fresh() bindings {
	return bindings{listeners: b.newListeners, forwards: b.newForwards, redirects: b.newRedirects}
}

// prepare binds what a configuration has more than the front, or nothing.
func (w *front) prepare(cfg *conf.Client) (b bindings, err error) {
	defer func() {
		if err != nil {
			w.release(b.fresh())
		}
	}()
	w.mu.Lock()
	have, redirects := slices.Clone(w.listeners), slices.Clone(w.redirects)
	w.mu.Unlock()
	for _, addr := range cfg.Listen {
		if i := slices.IndexFunc(have, func(ln *net.TCPListener) bool { return listensAt(ln, addr) }); i >= 0 {
			b.listeners = append(b.listeners, have[i])
			have = slices.Delete(have, i, i+1)
			continue
		}
		ln, err := listen(addr, cfg.Listen)
		if err != nil {
			return b, fmt.Errorf("listen on %s: %w", addr, explainBind(err))
		}
		b.listeners, b.newListeners = append(b.listeners, ln), append(b.newListeners, ln)
	}
	forwards := w.list()
	var routes []conf.Route
	for _, f := range cfg.Forwards {
		routes = append(routes, f.Routes()...)
	}
	b.targets = make([]*target, len(routes))
	for i, f := range routes {
		if b.targets[i], err = parseTarget(f); err != nil {
			return b, err
		}
		if j := slices.IndexFunc(forwards, func(have *forward) bool { return have.is(f) }); j >= 0 {
			b.forwards = append(b.forwards, forwards[j])
			continue
		}
		fresh, err := newForward(w.client, f, w.client.lanes[i%len(w.client.lanes)])
		if err != nil {
			return b, err
		}
		b.forwards, b.newForwards = append(b.forwards, fresh), append(b.newForwards, fresh)
	}
	for i, addr := range cfg.Redirect.Listen {
		if j := slices.IndexFunc(redirects, func(r *redirect) bool { return r.listen == addr }); j >= 0 {
			b.redirects = append(b.redirects, redirects[j])
			continue
		}
		fresh, err := newRedirect(w.client, addr, w.client.lanes[i%len(w.client.lanes)])
		if err != nil {
			return b, err
		}
		b.redirects, b.newRedirects = append(b.redirects, fresh), append(b.newRedirects, fresh)
	}
	return b, nil
}

// adopt takes listeners that somebody else has bound, a service manager. Those that the
// configuration does not have are closed by begin.
func (w *front) adopt(handed []net.Listener) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range handed {
		ln, ok := l.(*net.TCPListener)
		if !ok {
			w.client.log.Warn().Stringer("address", l.Addr()).Msg("a socket that the service manager hands over is not TCP: it is closed")
			l.Close()
			continue
		}
		if raw, err := ln.SyscallConn(); err == nil && inheritKeepAlive != nil {
			_ = inheritKeepAlive(raw) // else a vanished host's association ends later
		}
		w.listeners = append(w.listeners, ln)
	}
}

// listensAt says whether a listener was bound for an address.
func listensAt(ln *net.TCPListener, want netip.AddrPort) bool {
	a := ln.Addr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) == want
}

// release closes what was prepared in vain.
func (w *front) release(b bindings) {
	for _, ln := range b.listeners {
		ln.Close()
	}
	for _, f := range b.forwards {
		f.close()
	}
	for _, r := range b.redirects {
		r.close()
	}
}

// swap serves the new sockets and leaves those that are not wanted any more. What came
// through a listener that is left goes on.
func (w *front) swap(next bindings) {
	w.mu.Lock()
	if w.closed || w.start == nil {
		w.mu.Unlock()
		w.release(next.fresh())
		return
	}
	old := bindings{listeners: w.listeners, forwards: w.forwards, redirects: w.redirects}
	w.listeners, w.forwards, w.redirects = next.listeners, next.forwards, next.redirects
	for i, f := range next.forwards {
		f.target.Store(next.targets[i])
	}
	for _, ln := range next.newListeners {
		w.start(func() error { return w.accept(w.client.life, ln, w.admit) })
	}
	for _, f := range next.newForwards {
		if f.ln != nil {
			w.start(func() error { return w.accept(w.client.life, f.ln, f.admit) })
		}
	}
	for _, r := range next.newRedirects {
		w.start(func() error { return w.accept(w.client.life, r.ln, r.admit) })
	}
	w.mu.Unlock()
	for _, ln := range old.listeners {
		if !slices.Contains(next.listeners, ln) {
			ln.Close()
		}
	}
	for _, f := range old.forwards {
		if !slices.Contains(next.forwards, f) {
			f.close()
		}
	}
	for _, r := range old.redirects {
		if !slices.Contains(next.redirects, r) {
			r.close()
		}
	}
}

// left says whether the client has stopped listening there on purpose.
func (w *front) left(ln *net.TCPListener) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !slices.Contains(w.listeners, ln) && !slices.ContainsFunc(w.forwards, func(f *forward) bool { return f.ln == ln }) &&
		!slices.ContainsFunc(w.redirects, func(r *redirect) bool { return r.ln == ln })
}

// list returns the present forwards.
func (w *front) list() []*forward {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.forwards)
}

// redirected returns the present redirects.
func (w *front) redirected() []*redirect {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.redirects)
}

// begin has the front be the sockets that were prepared.
func (w *front) begin(b bindings) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ln := range w.listeners { // that were adopted
		if !slices.Contains(b.listeners, ln) {
			w.client.log.Warn().Stringer("address", ln.Addr()).Msg("a socket that the service manager hands over is not in listen: it is closed")
			ln.Close()
		}
	}
	w.listeners, w.forwards, w.redirects = b.listeners, b.forwards, b.redirects
}

// run serves the sockets in goroutines of Run, which start makes, until ctx ends.
func (w *front) run(ctx context.Context, start func(func() error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start = start
	for _, ln := range w.listeners {
		start(func() error { return w.accept(ctx, ln, w.admit) })
	}
	for _, f := range w.forwards {
		if f.ln != nil {
			start(func() error { return w.accept(ctx, f.ln, f.admit) })
		}
	}
	for _, r := range w.redirects {
		start(func() error { return w.accept(ctx, r.ln, r.admit) })
	}
	start(func() error { return w.sweep(ctx) })
}

// close ends the listening.
func (w *front) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, ln := range w.listeners {
		ln.Close()
	}
	for _, f := range w.forwards {
		if f.ln != nil {
			f.ln.Close()
		}
	}
	for _, r := range w.redirects {
		r.close()
	}
}

// accept takes connections from one listener until it is closed. Run starts it.
func (w *front) accept(ctx context.Context, ln *net.TCPListener, admit func(*net.TCPConn)) error {
	pause := time.Duration(0)
	for {
		conn, err := ln.AcceptTCP()
		if err == nil {
			pause = 0
			admit(conn)
			continue
		}
		if ctx.Err() != nil || w.left(ln) {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		}
		// Usually EMFILE: it passes when other connections end.
		if pause == 0 {
			w.client.log.Warn().Err(err).Stringer("listen", ln.Addr()).Msg("cannot accept connections; trying again")
		}
		pause = min(max(2*pause, minBackoff), maxBackoff)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// sweep ends idle peers until ctx ends. Run starts it.
func (w *front) sweep(ctx context.Context) error {
	tick := time.NewTicker(forwardSweep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			for _, f := range w.list() {
				f.sweep()
			}
			w.mu.Lock()
			published, redirects := slices.Clone(w.visitors), slices.Clone(w.redirects)
			w.mu.Unlock()
			for _, r := range redirects {
				r.guests.sweep()
			}
			for _, v := range published {
				v.sweep()
			}
		}
	}
}

// visited notes the visitors of a published port, or forgets them, for the sweeps.
func (w *front) visited(v *visitors, there bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if there {
		w.visitors = append(w.visitors, v)
		return
	}
	w.visitors = slices.DeleteFunc(w.visitors, func(o *visitors) bool { return o == v })
}

// addrs are the bound SOCKS addresses, in the order of the configuration.
func (w *front) addrs() []netip.AddrPort {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]netip.AddrPort, 0, len(w.listeners))
	for _, ln := range w.listeners {
		a := ln.Addr().(*net.TCPAddr).AddrPort()
		out = append(out, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	}
	return out
}

// explainBind adds what to do to the errors that a user can mend.
func explainBind(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another program, or another mpsocks, has this port", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: this machine has no such address", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: ports below 1024 need a privilege", err)
	}
	return err
}
