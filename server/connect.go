package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/armon/go-socks5"
	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/tcpio"
	"github.com/mpsocks/mpsocks/server/names"
)

// knownTime is how soon a client hears that a name is known, if its destination is not reached
// by then, which tells it the same.
const knownTime = 100 * time.Millisecond

// requestTimeout is the time for greeting and request. Both come in the stream's
// first flight, so only a broken client needs longer.
const requestTimeout = 10 * time.Second

// A stream is what a CONNECT needs of a mux.Stream.
type stream interface {
	net.Conn
	io.ReaderFrom
	Pour(w io.Writer, says func(first []byte) (skip int, ok bool), ended func(n int64, err error))
	CloseWrite() error
	CloseReset()
	Reset()
	AfterFailure(func()) (stop func() bool)
	Begin()
	Rest()
}

// connects counts what became of CONNECTs.
type connects struct {
	connected, failed, refused, denied, capped counter
}

// Stream implements mux.Handler: it serves one CONNECT, in the stream's own
// goroutine, until both directions have ended.
func (p *peer) Stream(st *mux.Stream) { p.connect(st) }

// connect lets armon/go-socks5 read the request, and lends it our rules, names
// and connections. Every hook is a closure over this one stream.
func (p *peer) connect(st stream) {
	s := p.server
	if at, ok := st.LocalAddr().(*net.TCPAddr); ok && at.Port != packet.ExitPort {
		if at.Port == packet.PublishPort {
			publish(p, st)
		} else {
			st.Reset()
		}
		return
	}
	if s.draining.Load() || !claim(p, st, p.streams.take) {
		s.connects.capped.Add(1)
		p.client.wrong("a CONNECT was refused: the limit of streams is reached, or the server is ending")
		st.Reset()
		return
	}
	defer p.streams.give()
	if !claim(p, st, func() bool { return s.sockets.take(&p.client.sockets, exitSocket) }) {
		s.connects.capped.Add(1)
		p.client.wrong("a CONNECT was refused: its share of file descriptors is used")
		st.Reset()
		return
	}
	defer s.sockets.give(&p.client.sockets, exitSocket)

	e := newExit(p.ctx, p, p.client, st)
	s.exits.add(e, s.now())
	defer s.exits.remove(e)

	// An application that goes away ends the attempts to reach what it asked for,
	// and what the target does not take in time.
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	stopFailure := st.AfterFailure(func() {
		cancel()
		e.fail()
	})
	defer stopFailure()
	defer e.finish()

	r := &request{peer: p, exit: e, ctx: ctx}
	server, err := socks5.New(&socks5.Config{Resolver: r, Rules: r, Dial: r.dial, Logger: armonLog(p.log)})
	if err != nil {
		st.Reset()
		return
	}
	_ = st.SetReadDeadline(time.Now().Add(requestTimeout)) // a stream takes the answers at once
	if err := server.ServeConn(inside{e}); err != nil && !e.reached {
		p.log.Debug().Err(err).Msg("connect ended")
	}
}

// conn is the connection outside, or nil.
func (e *exit) conn() tcpio.Socket {
	if c := e.target.Load(); c != nil {
		return *c
	}
	return nil
}

// unreached says at debug which destination was not reached for the client, and why.
func (p *peer) unreached(to, why string) {
	p.client.wrong("CONNECT to " + to + ": " + why)
	if line := p.log.Debug(); line.Enabled() {
		line.Str("to", to).Str("why", why).Msg("CONNECT failed")
	}
}

// A request is one CONNECT on its way through armon's hooks: Resolve, Allow,
// dial. The address that was checked is the address that is dialled.
type request struct {
	peer  *peer
	exit  *exit
	ctx   context.Context    // ends with the session, or when the application has gone
	addrs []netip.Addr       // that Allow found and permits
	more  <-chan names.Found // the other family's, or nil
	port  uint16
	named bool  // the client asked for a name
	err   error // why there are none, if no rule is the reason
}

// Resolve implements socks5.NameResolver. armon asks before it looks at the
// command; so nothing is resolved here, or BIND could get another reply than 07.
func (r *request) Resolve(ctx context.Context, _ string) (context.Context, net.IP, error) {
	return ctx, nil, nil
}

// Allow implements socks5.RuleSet: it resolves the destination and keeps the
// addresses that the access rules permit. False gives the reply 02.
func (r *request) Allow(ctx context.Context, req *socks5.Request) (context.Context, bool) {
	if req.Command != socks5.ConnectCommand {
		return ctx, true // armon answers 07
	}
	to := askedText(req.DestAddr)
	r.exit.asked.Store(&to)
	r.port = uint16(req.DestAddr.Port)
	got := names.Found{Err: errors.New("empty name")}
	if name := req.DestAddr.FQDN; name != "" {
		got = r.lookup(name)
	} else if addr, ok := netip.AddrFromSlice(req.DestAddr.IP); ok {
		got = names.Found{Addrs: []netip.Addr{addr}}
	}
	if r.err = got.Err; r.err != nil {
		r.err = &dialError{"name not resolved", r.err}
		return ctx, true // dial returns the error, which gives the reply 04
	}
	if r.addrs = r.permitted(got.Addrs); len(r.addrs) == 0 && r.more != nil {
		r.addrs, r.more = r.permitted((<-r.more).Addrs), nil
	}
	c := r.peer.client
	if len(r.addrs) == 0 || c.over.Load() || c.braked.Load() && !c.brake.admits(netip.AddrPortFrom(r.addrs[0], r.port)) {
		r.peer.server.connects.denied.Add(1)
		r.peer.unreached(to, r.denial())
		return ctx, false
	}
	return ctx, true
}

// denial says why a destination is denied.
func (r *request) denial() string {
	c := r.peer.client
	switch {
	case len(r.addrs) == 0:
		return "not allowed by relay.allow and relay.deny"
	case c.over.Load():
		return "the client's quota is used"
	}
	return "more new destinations a second than the limits allow"
}

// lookup asks for a name, in its turn: the caps of names that are being resolved
// hold for CONNECTs and datagrams together.
func (r *request) lookup(name string) (got names.Found) {
	if a, ok := names.Literal(name); ok {
		return names.Found{Addrs: []netip.Addr{a}}
	}
	r.named = true
	r.exit.stream.Rest()
	// When it takes long the client has no more names asked for at once than it may: it need not count this any more.
	got, r.more = r.peer.server.resolver.Lookup(r.ctx, &r.peer.client.names, name, func() { _ = r.exit.answer() })
	return got
}

// permitted are those of the addresses that the access rules permit.
func (r *request) permitted(addrs []netip.Addr) (out []netip.Addr) {
	rules := r.peer.server.rules.current.Load()
	for _, addr := range addrs {
		addr = addr.WithZone("").Unmap()
		if rules.verdict(netip.AddrPortFrom(addr, r.port)) == dropNone {
			out = append(out, addr)
		}
	}
	return out
}

// askedText is a destination as status shows it.
func askedText(to *socks5.AddrSpec) string {
	host := to.FQDN
	if host == "" {
		host = to.IP.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(to.Port))
}

// budget is what a CONNECT may cost beside its one socket and its first destination: whoever
// controls a name's addresses has no more of either than others.
func (r *request) budget() budget {
	s, c := r.peer.server, r.peer.client
	return budget{
		admits: func(a netip.Addr) bool {
			return !c.braked.Load() || c.brake.admits(netip.AddrPortFrom(a, r.port))
		},
		socket: func() (give func(), ok bool) {
			return func() { s.sockets.give(&c.sockets, exitSocket) }, s.sockets.take(&c.sockets, exitSocket)
		},
		manner: manner{r.exit.stream.Rest, s.exits.buffers(r.peer.client)},
	}
}

// dial connects to the addresses that Allow has kept; armon's own idea of the
// address is not used.
func (r *request) dial(context.Context, string, string) (net.Conn, error) {
	s := r.peer.server
	// The request is complete: from here on only idleness ends the stream.
	_ = r.exit.stream.SetReadDeadline(time.Time{})
	if r.err != nil {
		s.connects.failed.Add(1)
		r.failed(r.err)
		return nil, r.err
	}
	if r.named {
		// The client has as many names asked for at once as it may: it counts no more of this.
		known := time.AfterFunc(knownTime, func() { _ = r.exit.answer() })
		defer known.Stop()
	}
	conn, err := s.dialer.connect(r.ctx, r.addrs, r.others(), r.port, r.budget())
	if err != nil {
		if rank(err) == rankRefused {
			s.connects.refused.Add(1)
			r.peer.client.brake.refused()
		} else {
			s.connects.failed.Add(1)
		}
		r.failed(err)
		return nil, err
	}
	s.connects.connected.Add(1)
	s.exits.clamp(r.peer.client, conn)
	if !r.exit.connected(conn) {
		return nil, fmt.Errorf("session: %w", net.ErrClosed)
	}
	r.exit.reached = true
	return outside{r.exit}, nil
}

// failed says why the destination was not reached, unless the application has gone.
func (r *request) failed(err error) {
	if r.ctx.Err() != nil {
		return
	}
	why := err.Error()
	if cause := errors.Unwrap(err); cause != nil {
		why += " (" + cause.Error() + ")"
	}
	to := ""
	if asked := r.exit.asked.Load(); asked != nil {
		to = *asked
	}
	r.peer.unreached(to, why)
}

// others brings those addresses that were still being asked for when the first
// ones were there; nil if none were.
func (r *request) others() <-chan []netip.Addr {
	if r.more == nil {
		return nil
	}
	out := make(chan []netip.Addr, 1)
	go func() { // until the answer, which the resolver gives in any case
		out <- r.permitted((<-r.more).Addrs)
	}()
	return out
}

// armonLog is a logger for armon/go-socks5, whose errors are of no more than
// debug interest: refusals and resets of connections that users see themselves.
func armonLog(log zerolog.Logger) *stdlog.Logger {
	if log.GetLevel() > zerolog.DebugLevel || zerolog.GlobalLevel() > zerolog.DebugLevel {
		return stdlog.New(io.Discard, "", 0)
	}
	return stdlog.New(debugWriter{log}, "", 0)
}

// debugWriter writes each line as a debug event.
type debugWriter struct{ log zerolog.Logger }

func (w debugWriter) Write(line []byte) (int, error) {
	n := len(line)
	if n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	w.log.Debug().Bytes("armon", line).Msg("connect")
	return n, nil
}
