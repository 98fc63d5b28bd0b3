package client

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/errno"
	"github.com/mpsocks/mpsocks/mux/tcpio"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// A redirect is one address to which the firewall gives what other machines send to
// the internet, of both protocols (nftables TPROXY). A machine's UDP socket has an inner
// port, as a forward's applications have, and its connections leave as CONNECTs do.
type redirect struct {
	// Set once at construction.
	client  *Client
	listen  netip.AddrPort // as configured
	loop    *loop
	conn    *udpio.Conn
	ln      *tcpio.Listener
	streams *admission.Quota // of one machine
	guests  redirectGuests
	local   localAddrs
}

// newRedirect binds the sockets of a redirect.
func newRedirect(c *Client, listen netip.AddrPort, l *loop) (*redirect, error) {
	r := &redirect{client: c, listen: listen, loop: l, streams: admission.NewQuota(0, redirectedStreams(c))}
	r.guests.redirect, r.guests.replies.Cap = r, maxReplies
	ln, err := listenTransparent(listen, c.mark)
	if err != nil {
		return nil, fmt.Errorf("redirect %s: %w", listen, r.explain(err, true))
	}
	r.ln = ln
	at := addrOf(ln.Addr()) // with its port, if that was 0
	if r.conn, err = l.Listen(at, r.sockets(), r.uplink); err != nil {
		ln.Close()
		return nil, fmt.Errorf("redirect %s: %w", listen, r.explain(err, false))
	}
	return r, nil
}

// redirectedStreams is how many connections one redirected machine may have.
func redirectedStreams(c *Client) int {
	most := c.streams.Most()
	if d := c.crowd.Descriptors.Most(); d > 0 && (most == 0 || d < most) {
		most = d
	}
	return max(most/admission.ShareOfOne, 1)
}

// sockets are the options of all UDP sockets of a redirect.
func (r *redirect) sockets() udpio.Options {
	opt := r.client.relays.of(r)
	opt.Transparent, opt.Mark = true, r.client.mark
	return opt
}

// explain adds what to do to the errors that a user can mend, of binding for TCP or for UDP.
func (r *redirect) explain(err error, tcp bool) error {
	switch {
	case errors.Is(err, syscall.EPERM):
		return errno.Advise(err, "it takes root, or CAP_NET_ADMIN (AmbientCapabilities= in the unit)")
	case errors.Is(err, errors.ErrUnsupported):
		return errors.New("it needs Linux")
	}
	return r.client.front.explainBind(err, r.listen, tcp)
}

// admits says whether a redirected machine may be led to a destination. What would come
// back here is not: the redirect itself, this machine, and the server, which the subflows
// go to.
func (r *redirect) admits(to netip.AddrPort) bool {
	a := to.Addr()
	switch {
	case to.Port() == 0 || !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast(),
		a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return false
	case r.client.mux != nil && slices.Contains(r.client.mux.Servers(), a):
		return false
	}
	return !r.local.has(a)
}

// admit serves a redirected connection.
func (r *redirect) admit(conn tcpio.Socket) { r.client.crowd.Serve(conn, r.connect) }

var (
	errLoop  = errors.New("it leads back here, or to the server")
	errShare = errors.New("this machine has its share of connections")
)

// connect asks the exit for where the connection was on its way to.
func (r *redirect) connect(conn tcpio.Socket) error {
	to, from := addrOf(conn.LocalAddr()), addrOf(conn.RemoteAddr())
	if !r.admits(to) || !mayReach(to) {
		r.client.drops.add(dropLoop)
		return errLoop
	}
	who := admission.HolderOf("", from.Addr())
	if !r.streams.Acquire(who) {
		return errShare
	}
	defer r.streams.Release(who)
	flight := exitRequest("", to.Addr(), to.Port())
	k, err := newCall(r.client, conn, "", flight)
	if err != nil {
		return err
	}
	defer k.end()
	k.name = from.Addr().String()
	return k.lead(flight, func() {})
}

func (r *redirect) listener() *tcpio.Listener { return r.ln }

func (r *redirect) sweep() { r.guests.sweep() }

// close ends the redirect with all that it carries by UDP; connections go on.
func (r *redirect) close() {
	r.ln.Close()
	r.conn.Close()
	r.guests.close()
}

// address is where the redirect listens.
func (r *redirect) address() netip.AddrPort { return r.conn.LocalAddr() }

// listenTransparent binds a TCP listener that takes connections to any address.
func listenTransparent(addr netip.AddrPort, mark uint32) (*tcpio.Listener, error) {
	if makeTransparent == nil {
		return nil, errors.ErrUnsupported
	}
	network := "tcp4"
	if addr.Addr().Is6() {
		network = "tcp6"
	}
	lc := net.ListenConfig{
		KeepAlive: -1, // set below, for all at once
		Control: func(_, _ string, raw syscall.RawConn) error {
			if err := inheritKeepAlive(raw); err != nil {
				return err
			}
			tcpio.Inline(raw)
			return makeTransparent(raw, addr.Addr().Is6(), mark)
		},
	}
	return bind(&lc, network, addr)
}

// A Lack is something that a setting needs of the machine and does not find there.
type Lack struct {
	What   string
	Remedy string
}
