package client

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/tcpio"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// associationFiles is how many descriptors an association has: its control connection and its
// relay socket.
const associationFiles = 2

// drained is how many bytes of what an application sends in a control connection are read at once.
const drained = 16 << 10

// association is one SOCKS5 UDP ASSOCIATE, RFC 1928, Section 7. It lives
// exactly as long as its control connection. Its relay socket is read by a
// loop; one small goroutine waits for the control connection to end.
type association struct {
	inner

	// Set once at construction.
	loop    *loop
	control tcpio.Socket
	relay   *udpio.Conn
	app     netip.Addr // the control connection's peer: the only host that may send

	port      appPort     // where it sends from
	fragments *reassembly // or nil; guarded by mu
	refusal   refusal     // guarded by mu

	discard [1]byte // where watch reads into
}

// associate serves a UDP ASSOCIATE request on a fresh control connection. It
// writes the reply; if it returns nil the association has taken the connection
// over.
func associate(c *Client, control tcpio.Socket, user string, want netip.AddrPort) error {
	local := control.LocalAddr().(*net.TCPAddr).AddrPort()
	remote := control.RemoteAddr().(*net.TCPAddr).AddrPort()
	a := &association{
		loop:    c.loops[c.nextLoop.Add(1)%uint32(len(c.loops))],
		control: control,
		app:     remote.Addr().Unmap(),
	}
	a.client, a.source.User = c, user
	a.holder = admission.HolderOf(user, a.app)
	if err := a.admit(); err != nil {
		return replyError{repFailure, err}
	}
	// Behind a NAT the address is another one, and the port too.
	if !want.Addr().IsValid() || want.Addr().IsUnspecified() || want.Addr() == a.app.WithZone("") {
		a.port.announced = want.Port()
	}
	if err := a.open(local.Addr().Unmap()); err != nil {
		a.leave()
		return replyError{repFailure, err}
	}
	if a.port.announced != 0 {
		// A program may send and close its socket at once; then it cannot be asked any more whose
		// it was.
		a.mu.Lock()
		a.port.vouched = a.owns(netip.AddrPortFrom(a.app, a.port.announced))
		a.mu.Unlock()
	}
	bound := a.relay.LocalAddr()
	if p := c.relays.publicFor(a.app); p.IsValid() && !a.app.IsLoopback() {
		bound = netip.AddrPortFrom(p, bound.Port())
	}
	err := control.SetDeadline(time.Time{})
	if err == nil {
		err = writeReply(control, repSuccess, bound)
	}
	if err != nil {
		a.close()
		return err
	}
	// A goroutine of its own: the one that ran the handshake has a grown
	// stack, and an idle association should not keep it.
	go a.watch()
	return nil
}

// open binds the relay socket, then takes the inner port. Datagrams that come
// in between wait for the mutex, and deliveries find only what is complete.
func (a *association) open(local netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	relay, err := a.client.relays.listen(a.loop.Loop, a.holder, local, a.uplink)
	if err != nil {
		return err
	}
	a.relay = relay
	if err := a.client.ports.take(&a.innerPort, a); err != nil {
		a.closed = true
		relay.Close()
		return err
	}
	return nil
}

// watch ends the association when its control connection ends, whose goroutine it is now. It was started
// by associate; the end of the connection stops it, and shutdown closes that.
// The end of the application's direction is one: from another machine it looks as
// a close does, other proxies take it so, and who ends a connection with care
// (shutdown, then read until the other side's end) waits for ours.
func (a *association) watch() {
	defer a.client.crowd.Leave(a.control)
	var err error
	for err == nil { // what an application sends here means nothing
		if _, err = a.control.Read(a.discard[:]); err == nil && gate.Unread(a.control) {
			err = a.drain()
		}
	}
	if !errors.Is(err, net.ErrClosed) {
		a.lastWords()
	}
	a.close()
}

// drain reads what has come by the control connection without waiting, much at once: a call of the
// system for each byte is what an application could have this machine do all day.
func (a *association) drain() (err error) {
	b := buf.Get(drained)
	defer b.Release()
	for err == nil && gate.Unread(a.control) {
		_, err = a.control.Read(b.Bytes())
	}
	return err
}

// lastWords sends on what the application sent before it went: many say something and close at
// once. It waits for names, as long as questions take.
func (a *association) lastWords() {
	a.relay.Drain()
	a.mu.Lock()
	r := a.port.rival
	a.mu.Unlock()
	if r != nil { // the port that was known says nothing any more
		r.timer.Stop()
		a.takeOver(r)
	}
	for _, in := range a.inners() {
		a.client.names.await(in)
	}
}

// inners are those of all its sockets.
func (a *association) inners() []*inner {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := []*inner{&a.inner}
	for _, s := range a.port.siblings {
		all = append(all, &s.inner)
	}
	return all
}

// close ends the association: the relay socket, the inner port and the control
// connection. It is idempotent.
func (a *association) close() {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return
	}
	a.closed = true
	a.abandon()
	a.dismiss()
	for _, s := range a.port.siblings {
		s.close()
	}
	a.mu.Unlock()
	a.end()
	a.relay.Close()
	a.control.Close()
	a.leave()
}

// admit counts an association for whoever has it. Without an error leave has to be called.
func (a *association) admit() error {
	c := a.client
	if !c.associations.Acquire(a.holder) {
		return errTooManyAssociations
	}
	err := errTooManyAssociations
	if c.relays.shares.Acquire(a.holder) {
		err = errTooManyDescriptors
		if d := c.crowd.Descriptors; d.Hold(a.holder, associationFiles) {
			if d.Take(1) { // the relay socket
				return nil
			}
			d.Release(a.holder, associationFiles)
		}
		c.relays.shares.Release(a.holder)
	}
	c.associations.Release(a.holder)
	return err
}

// leave undoes admit.
func (a *association) leave() {
	c := a.client
	c.crowd.Descriptors.Give(1)
	c.crowd.Descriptors.Release(a.holder, associationFiles)
	c.relays.shares.Release(a.holder)
	c.associations.Release(a.holder)
}

// uplink takes a batch from the relay socket, on the Loop's goroutine.
func (a *association) uplink(c *udpio.Conn, msgs []udpio.Message) {
	c.Gather(a.client.tunnel.Far())
	var now moment
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		a.client.drops[dropClosed].Add(uint64(len(msgs)))
		return
	}
	for i := range msgs {
		m := &msgs[i]
		other, ok := a.from(m, &now)
		switch {
		case other != nil:
			other.send(m, &now)
		case !ok:
			if m.Buf != nil { // it is not held
				a.client.drops.add(dropSource)
			}
		default:
			if b := a.request(m, &now); b != nil {
				a.loop.add(b)
			}
		}
	}
	a.loop.send(&a.inner)
}

// request turns one SOCKS datagram into a packet for the tunnel. It returns nil
// if there is nothing to send now; it takes the Buffer (m.Buf becomes nil) if
// it returns or keeps it.
func (a *association) request(m *udpio.Message, now *moment) *buf.Buffer {
	var h header
	n, err := parseHeader(m.Buf.Bytes(), &h)
	if err != nil {
		a.client.drops.add(dropHeader)
		return nil
	}
	b, to := m.Buf, h.to
	if h.frag != 0 || a.fragments != nil {
		whole, ok := a.piece(b.Bytes()[n:], &h, now)
		if !ok {
			return nil
		}
		if whole != nil {
			// The datagram that completed the sequence stays in msgs and is
			// released there; h.host still points into it.
			out, kept := a.finish(whole, &h, to, m.TOS, now)
			if out == nil && !kept {
				whole.Release()
			}
			return out
		}
	}
	b.Trim(n)
	out, kept := a.finish(b, &h, to, m.TOS, now)
	if out != nil || kept {
		m.Buf = nil
	}
	return out
}

// receive takes one packet from the tunnel to the application. It may run at the same time
// as itself, uplink and close.
func (a *association) receive(d *delivery, pkt, payload []byte) {
	to := a.port.at.Load()
	if to == nil {
		a.client.drops.add(dropNoPeer)
		return
	}
	a.answered(d.udp.Src)
	a.tell(*to, d, pkt, payload)
}

// tell passes a packet on to a socket of the application's: the SOCKS header, which is always the
// shorter one, overwrites the end of the IP and UDP headers.
func (a *association) tell(to netip.AddrPort, d *delivery, pkt, payload []byte) {
	from := d.udp.Src
	datagram := pkt[len(pkt)-len(payload)-headerLen(from.Addr()):]
	putHeader(datagram, from)
	d.w.Add(a.relay, to, d.udp.TOS, datagram)
}

// wantedPeer reads the DST fields of a UDP ASSOCIATE request: where the
// application says it will send from. Of a name only the port says something.
func wantedPeer(atyp byte, addr, port []byte) netip.AddrPort {
	p := binary.BigEndian.Uint16(port)
	switch atyp {
	case atypIPv4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr)), p)
	case atypIPv6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(addr)).Unmap(), p)
	}
	return netip.AddrPortFrom(netip.Addr{}, p)
}

var (
	errTooManyAssociations = errors.New("too many associations")
	errTooManyDescriptors  = errors.New("no descriptors left for applications")
)
