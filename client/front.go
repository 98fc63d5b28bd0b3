package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/errno"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// An entrance is one way in for applications: a SOCKS port, a forward, or a redirect. It is
// bound when it is made, and serves from the front's run or swap on.
type entrance interface {
	// listener takes its TCP connections; nil for one of UDP alone.
	listener() *tcpio.Listener
	// admit serves one of them, in a goroutine of its own, or closes it.
	admit(conn tcpio.Socket)
	// sweep ends what came in by UDP and has been idle.
	sweep()
	// close ends it, with what came in by UDP. Connections go on.
	close()
	// address is where it is bound.
	address() netip.AddrPort
}

// A front is what applications reach: the entrances, and those who send to published UDP
// ports.
type front struct {
	client *Client

	mu        sync.Mutex // guards the rest
	entrances []entrance // in the order of the configuration
	visitors  []*visitors
	start     func(func() error) // starts a goroutine of Run; nil before
	closed    bool
}

// bindings are the entrances of a configuration: those that the client has already and
// those that are new.
type bindings struct {
	entrances, fresh []entrance
	targets          map[*forward]*target // where they lead from now on
}

// have returns the one among all that is wanted, or makes it.
func have[E entrance](b *bindings, all []entrance, wanted func(E) bool, fresh func() (E, error)) (E, error) {
	for _, e := range pick[E](all) {
		if wanted(e) {
			b.entrances = append(b.entrances, e)
			return e, nil
		}
	}
	e, err := fresh()
	if err == nil {
		b.entrances, b.fresh = append(b.entrances, e), append(b.fresh, e)
	}
	return e, err
}

// pick returns the entrances of one kind.
func pick[E entrance](all []entrance) (out []E) {
	for _, e := range all {
		if e, is := e.(E); is {
			out = append(out, e)
		}
	}
	return out
}

// prepare binds what a configuration has more than the front, or nothing.
func (w *front) prepare(cfg *conf.Client) (b bindings, err error) {
	defer func() {
		if err != nil {
			b.release()
		}
	}()
	c, all := w.client, w.list()
	for _, addr := range cfg.Listen {
		_, err := have(&b, all, func(p *socksPort) bool { return p.address() == addr },
			func() (*socksPort, error) { return newSOCKSPort(c, addr, cfg.Listen) })
		if err != nil {
			return b, err
		}
	}
	b.targets = make(map[*forward]*target)
	var routes []conf.Route
	for _, f := range cfg.Forwards {
		routes = append(routes, f.Routes()...)
	}
	for i, r := range routes {
		to, err := parseTarget(r)
		if err != nil {
			return b, err
		}
		f, err := have(&b, all, func(f *forward) bool { return f.is(r) },
			func() (*forward, error) { return newForward(c, r, to, loopOf(c, i)) })
		if err != nil {
			return b, err
		}
		b.targets[f] = to
	}
	for i, addr := range cfg.Redirect.Listen {
		_, err := have(&b, all, func(r *redirect) bool { return r.listen == addr },
			func() (*redirect, error) { return newRedirect(c, addr, loopOf(c, i)) })
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

// loopOf spreads what is bound over the Loops.
func loopOf(c *Client, i int) *loop { return c.loops[i%len(c.loops)] }

// release closes what was prepared in vain.
func (b *bindings) release() {
	for _, e := range b.fresh {
		e.close()
	}
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
			tcpio.Inline(raw)
		}
		taken, err := tcpio.Listen(ln)
		if err != nil {
			w.client.log.Warn().Err(err).Stringer("address", l.Addr()).Msg("a socket that the service manager hands over cannot be used")
			continue
		}
		w.entrances = append(w.entrances, &socksPort{w.client, taken})
	}
}

// begin has the front be the entrances that were prepared.
func (w *front) begin(b bindings) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.entrances { // that were adopted
		if !slices.Contains(b.entrances, e) {
			w.client.log.Warn().Stringer("address", e.listener().Addr()).Msg("a socket that the service manager hands over is not in listen: it is closed")
			e.close()
		}
	}
	w.entrances = b.entrances
}

// run serves the entrances in goroutines of Run, which start makes, until ctx ends.
func (w *front) run(ctx context.Context, start func(func() error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start = start
	w.serve(w.entrances)
	start(func() error { return w.sweep(ctx) })
}

// serve starts the goroutines of entrances. w.mu is held.
func (w *front) serve(entrances []entrance) {
	for _, e := range entrances {
		if e.listener() != nil {
			w.start(func() error { return w.accept(e) })
		}
	}
}

// swap serves the new entrances and leaves those that are not wanted any more. What came
// through a listener that is left goes on.
func (w *front) swap(next bindings) {
	w.mu.Lock()
	if w.closed || w.start == nil {
		w.mu.Unlock()
		next.release()
		return
	}
	old := w.entrances
	w.entrances = next.entrances
	for f, to := range next.targets {
		f.target.Store(to)
	}
	w.serve(next.fresh)
	w.mu.Unlock()
	for _, e := range old {
		if !slices.Contains(next.entrances, e) {
			e.close()
		}
	}
}

// left says whether the client has stopped listening there on purpose.
func (w *front) left(e entrance) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !slices.Contains(w.entrances, e)
}

// list returns the present entrances.
func (w *front) list() []entrance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.entrances)
}

// forwards returns the present forwards.
func (w *front) forwards() []*forward { return pick[*forward](w.list()) }

// redirects returns the present redirects.
func (w *front) redirects() []*redirect { return pick[*redirect](w.list()) }

// addrs are the bound SOCKS addresses, in the order of the configuration.
func (w *front) addrs() []netip.AddrPort {
	out := []netip.AddrPort{}
	for _, p := range pick[*socksPort](w.list()) {
		out = append(out, p.address())
	}
	return out
}

// close ends the listening.
func (w *front) close() {
	w.mu.Lock()
	w.closed = true
	all := slices.Clone(w.entrances)
	w.mu.Unlock()
	for _, e := range all {
		e.close()
	}
}

// accept takes connections from one entrance until that is closed. It is a goroutine of
// Run.
func (w *front) accept(e entrance) error {
	ctx, ln := w.client.life, e.listener()
	err := tcpio.AcceptAll(ctx, ln.Accept, e.admit, deaf(w.client, ln.Addr()))
	if ctx.Err() != nil || w.left(e) {
		return nil
	}
	return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
}

// deaf says that connections cannot be accepted at an address.
func deaf(c *Client, at net.Addr) func(error) {
	return func(err error) {
		c.log.Warn().Err(err).Stringer("listen", at).Msg("cannot accept connections; trying again")
	}
}

// sweep ends what is idle until ctx ends. It is a goroutine of Run.
func (w *front) sweep(ctx context.Context) error {
	tick := time.NewTicker(forwardSweep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			for _, e := range w.list() {
				e.sweep()
			}
			w.mu.Lock()
			published := slices.Clone(w.visitors)
			w.mu.Unlock()
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

// explainBind adds what to do to the errors that a user can mend. The address was to be bound
// for TCP or for UDP.
func (w *front) explainBind(err error, at netip.AddrPort, tcp bool) error {
	if own := w.holds(at.Port(), tcp); own.IsValid() && errors.Is(err, errno.AddrInUse) {
		return errno.Advise(err, "this client itself has the port, at %s, and lets go of it only when the new address is bound: restart it", own)
	}
	return errno.AdviseBind(err)
}

// holds returns where a client that runs has a port itself; the zero value if nowhere.
func (w *front) holds(port uint16, tcp bool) netip.AddrPort {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.entrances {
		if w.start != nil && e.address().Port() == port && (e.listener() != nil) == tcp {
			return e.address()
		}
	}
	return netip.AddrPort{}
}
